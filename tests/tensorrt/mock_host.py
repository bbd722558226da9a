"""Plugins as TensorRT calls them, through ``mock_host.cc``."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.oracles import Array
from tests.tensorrt.abi import (
    FIELD_TYPES,
    LINEAR,
    TYPES,
    Desc,
    Dims,
    DynamicDesc,
    Field,
    FieldCollection,
    Tensor,
    desc,
    dims,
    read_fields,
)
from tools.gpu_kernels.driver import Device
from tools.gpu_kernels.lent_memory import lend

__all__ = ["BUILD", "REQUIRED", "RUNTIME", "Library", "MockHost", "Plugin"]

BUILD, RUNTIME = 0, 1
REQUIRED = {"top_k": 2, "inner": 40, "shared_inner": 70}
"""What the tests' plugins have of attributes that an op requires. Widths fill no last tile."""


def text(value: bytes) -> str:
    return value.decode()


class MockHost:
    """Functions of the compiled host; pointers are ``void*``."""

    TEXTS = (
        *("take_log", "creator_kind", "creator_name", "creator_version", "creator_namespace"),
        *("plugin_name", "plugin_version", "plugin_namespace", "metadata"),
    )
    POINTERS = ("create", "clone", "attach")
    COLLECTIONS = ("creator_fields", "serialized")
    NUMBERS = ("size_of_field", "size_of_desc", "size_of_dynamic_desc", "workspace")

    def __init__(self, path: Path) -> None:
        self.path, self.c = path, ctypes.CDLL(str(path))
        results: dict[Any, tuple[str, ...]] = {
            ctypes.c_char_p: self.TEXTS,
            ctypes.c_void_p: self.POINTERS,
            ctypes.POINTER(FieldCollection): self.COLLECTIONS,
            ctypes.c_int64: self.NUMBERS,
            ctypes.c_bool: ("supports",),
            ctypes.POINTER(ctypes.c_void_p): ("load_library",),
        }
        for result, names in results.items():
            for name in names:
                getattr(self.c, name).restype = result
        assert self.c.size_of_field() == ctypes.sizeof(Field)
        assert self.c.size_of_desc() == ctypes.sizeof(Desc)
        assert self.c.size_of_dynamic_desc() == ctypes.sizeof(DynamicDesc)

    def load(self, path: Path, device: Device | None = None) -> Library:
        """``device`` is where its kernels run, if they are to."""
        count = ctypes.c_int32()
        creators = self.c.load_library(str(path).encode(), ctypes.byref(count))
        assert creators, self.log()
        found = [Creator(self, pointer) for pointer in creators[: count.value]]
        return Library(self, path, found, device)

    def pretend(self, version: int | None = None, *, has_logger: bool = True) -> None:
        """Be TensorRT of this version, by default that of the headers."""
        ours = self.c.headers_version()
        self.c.pretend(ours if version is None else version, ctypes.c_bool(has_logger))

    def log(self) -> list[str]:
        """What was logged since this was last asked: a severity and a text each."""
        return text(self.c.take_log()).splitlines()


@dataclass(frozen=True)
class Creator:
    host: MockHost
    pointer: int

    def __getattr__(self, name: str) -> str:
        """The text that is its kind, name, version or namespace."""
        return text(getattr(self.host.c, f"creator_{name}")(ctypes.c_void_p(self.pointer)))

    def fields(self) -> dict[str, tuple[str, Array | None]]:
        return read_fields(self.host.c.creator_fields(ctypes.c_void_p(self.pointer)))

    def create(self, fields: Mapping[str, Array], phase: int = BUILD) -> Plugin | None:
        """The plugin of these attributes, arrays of one element or, to be refused, of others."""
        arrays = {name: np.ascontiguousarray(value) for name, value in fields.items()}
        raw = (Field * len(arrays))(
            *(
                Field(name.encode(), value.ctypes.data, FIELD_TYPES[value.dtype.name], value.size)
                for name, value in arrays.items()
            )
        )
        collection = FieldCollection(len(arrays), raw)
        pointer = self.host.c.create(ctypes.c_void_p(self.pointer), ctypes.byref(collection), phase)
        return Plugin(self.host, pointer) if pointer else None


@dataclass(frozen=True)
class Library:
    host: MockHost
    path: Path
    creators: list[Creator]
    device: Device | None

    def __getitem__(self, name: str) -> Creator:
        return next(creator for creator in self.creators if creator.name == name)

    def plugin(self, op: str, **fields: Array) -> Plugin:
        """What an op requires and ``fields`` leave out is in ``REQUIRED``."""
        required = {
            name: np.array([REQUIRED[name]], dtype)
            for name, (dtype, fallback) in self[op].fields().items()
            if fallback is None and name not in fields
        }
        plugin = self[op].create(required | fields)
        assert plugin is not None, self.host.log()
        return plugin


class Plugin:
    """Arguments are tensors of inputs, then outputs; results are what the plugin answers."""

    def __init__(self, host: MockHost, pointer: int) -> None:
        self.host, self.pointer = host, ctypes.c_void_p(pointer)

    def __del__(self) -> None:
        self.host.c.destroy(self.pointer)

    def names(self) -> tuple[str, str, str]:
        """Name, version and namespace."""
        c = self.host.c
        calls = (c.plugin_name, c.plugin_version, c.plugin_namespace)
        name, version, namespace = (text(call(self.pointer)) for call in calls)
        return name, version, namespace

    def metadata(self) -> str:
        return text(self.host.c.metadata(self.pointer))

    def clone(self) -> Plugin:
        return Plugin(self.host, self.host.c.clone(self.pointer))

    def keep(self) -> None:
        """Have the host say its metadata once more, when the process ends."""
        self.host.c.keep(self.pointer)

    def attach(self) -> Plugin:
        return Plugin(self.host, self.host.c.attach(self.pointer))

    def outputs(self) -> int:
        return int(self.host.c.output_count(self.pointer))

    def serialized(self) -> dict[str, tuple[str, Array | None]]:
        return read_fields(self.host.c.serialized(self.pointer))

    def supports(self, position: int, types: Sequence[str], layout: int = LINEAR) -> bool:
        """Whether ``position`` may have its type beside those before; ``layout`` is its own."""
        descs = (DynamicDesc * len(types))()
        for i, dtype in enumerate(types):
            descs[i].desc = desc((dtype, ()), layout if i == position else LINEAR)
        inputs = len(types) - self.outputs()
        return bool(self.host.c.supports(self.pointer, position, descs, inputs, self.outputs()))

    def output_types(self, inputs: Sequence[str]) -> list[str] | int:
        """Types of the outputs, or the status of a failure."""
        to = (ctypes.c_int32 * self.outputs())()
        given = (ctypes.c_int32 * len(inputs))(*(TYPES[dtype] for dtype in inputs))
        status = self.host.c.output_types(self.pointer, to, len(to), given, len(given))
        names = {number: name for name, number in TYPES.items()}
        return int(status) or [names[number] for number in to]

    def output_shapes(self, inputs: Sequence[Sequence[int]]) -> list[tuple[int, ...]] | int:
        """Shapes of the outputs, or a failure. An extent -1 - n is unknown, and will be n."""
        to = (Dims * self.outputs())()
        given = (Dims * len(inputs))(*map(dims, inputs))
        status = self.host.c.output_shapes(self.pointer, given, len(given), to, len(to))
        return int(status) or [tuple(found.extents[: found.count]) for found in to]

    def _dynamic(self, tensors: Sequence[Tensor], most: Sequence[Sequence[int]]) -> Any:
        descs = (DynamicDesc * len(tensors))()
        for i, (tensor, largest) in enumerate(zip(tensors, most, strict=True)):
            least = dims([max(extent, 1) for extent in tensor[1]])
            descs[i] = DynamicDesc(desc(tensor), least, dims(largest), least)
        return descs

    def configure(
        self, tensors: Sequence[Tensor], most: Sequence[Sequence[int]] | None = None
    ) -> int:
        descs = self._dynamic(tensors, most or [tensor[1] for tensor in tensors])
        inputs = len(tensors) - self.outputs()
        return int(self.host.c.configure(self.pointer, descs, inputs, self.outputs()))

    def workspace(self, tensors: Sequence[Tensor], most: Sequence[Sequence[int]]) -> int:
        inputs = len(tensors) - self.outputs()
        descs = self._dynamic(tensors, most)
        return int(self.host.c.workspace(self.pointer, descs, inputs, self.outputs()))

    def on_shape_change(self, tensors: Sequence[Tensor]) -> int:
        descs = (Desc * len(tensors))(*map(desc, tensors))
        inputs = len(tensors) - self.outputs()
        return int(self.host.c.on_shape_change(self.pointer, descs, inputs, self.outputs()))

    def enqueue(
        self,
        device: Device | None,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        workspace: Array | None = None,
        stream: int | None = None,
    ) -> int:
        """Run on copies of arrays on ``device``; what is written may be memory of what is read."""
        assert device is not None, "its kernels run nowhere"
        arrays = (*inputs, *outputs)
        descs = (Desc * len(arrays))(*(desc((a.dtype.name, a.shape)) for a in arrays))
        with lend(device) as memory:
            read = (ctypes.c_void_p * len(inputs))(*map(memory.reads, inputs))
            written = (ctypes.c_void_p * len(outputs))(*map(memory.writes, outputs))
            space = ctypes.c_void_p(None if workspace is None else memory.writes(workspace))
            on = device.stream if stream is None else ctypes.c_void_p(stream)
            status = self.host.c.enqueue(self.pointer, descs, len(inputs), read, written, space, on)
            device.wait()
        return int(status)
