"""The structures of TensorRT that plugins are given, and that they give."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import ml_dtypes  # noqa: F401 NumPy knows bfloat16 by it
import numpy as np

from tests.oracles import Array

TYPES = {"float32": 0, "float16": 1, "int8": 2, "int32": 3, "bfloat16": 7, "int64": 8}
FIELD_TYPES = {"float16": 0, "float32": 1, "float64": 2, "int32": 5, "int64": 10}
LINEAR, CHANNELS_LAST = 0, 8

Tensor = tuple[str, Sequence[int]]
"""A type and a shape; what is not known of it is below 0."""


class Dims(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32), ("extents", ctypes.c_int64 * 8)]


class Desc(ctypes.Structure):
    _fields_ = [
        ("dims", Dims),
        ("type", ctypes.c_int32),
        ("format", ctypes.c_int32),
        ("scale", ctypes.c_float),
    ]


class DynamicDesc(ctypes.Structure):
    _fields_ = [("desc", Desc), ("least", Dims), ("most", Dims), ("best", Dims)]


class Field(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("length", ctypes.c_int32),
    ]


class FieldCollection(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32), ("fields", ctypes.POINTER(Field))]


def dims(shape: Sequence[int]) -> Dims:
    return Dims(len(shape), (ctypes.c_int64 * 8)(*shape))


def desc(tensor: Tensor, layout: int = LINEAR) -> Desc:
    return Desc(dims(tensor[1]), TYPES[tensor[0]], layout, -1.0)


def read_fields(collection: Any) -> dict[str, tuple[str, Array | None]]:
    """Name to type and, where there is one, value."""
    names = {number: name for name, number in FIELD_TYPES.items()}
    found: dict[str, tuple[str, Array | None]] = {}
    for field in collection.contents.fields[: collection.contents.count]:
        dtype = names[field.type]
        value = None
        if field.data is not None:
            size = field.length * np.dtype(dtype).itemsize
            value = np.frombuffer(ctypes.string_at(field.data, size), dtype).copy()
        found[field.name.decode()] = dtype, value
    return found
