"""Turning a recipe into bytes, a piece at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.dense_copy import dense
from deltaport.graph_passes.recipes.recipe import Recipe, RecordingSource, TensorSource
from deltaport.graph_passes.recipes.region import Region

__all__ = ["evaluate", "pieces"]


def pieces(shape: tuple[int, ...], itemsize: int, max_bytes: int) -> Iterator[Region]:
    """Yield regions of at most ``max_bytes`` bytes that cover an array in C order.

    The bytes of the regions, each in C order, one after another are the bytes of the array. A
    single element larger than ``max_bytes`` is a piece of its own; an empty array has no pieces.
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes is {max_bytes}, expected at least 1")
    if not shape:
        yield ()
    if not shape or 0 in shape:
        return
    # Cut the first axis of which one index fits; step through those before it one by one.
    rows = [math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape))]
    cut = next((axis for axis, row in enumerate(rows) if row <= max_bytes), len(shape) - 1)
    step = max(1, max_bytes // rows[cut])
    step = -(-shape[cut] // -(-shape[cut] // step))  # as many pieces, but of even size
    rest = tuple((0, size) for size in shape[cut + 1 :])
    for outer in product(*(range(size) for size in shape[:cut])):
        for start in range(0, shape[cut], step):
            ahead = tuple((index, index + 1) for index in outer)
            yield (*ahead, (start, min(start + step, shape[cut])), *rest)


def evaluate(
    recipe: Recipe, source: TensorSource, max_bytes: int = 16 << 20
) -> Iterator[memoryview]:
    """Yield the array's little-endian bytes in C order, in pieces of at most ``max_bytes``.

    Of int4 two elements are a byte, the first its low half: the last axis must be even. Tensors
    read for a piece are released before it is yielded. The bytes may be read-only, and do not
    depend on ``max_bytes``.
    """
    is_half = recipe.dtype == ml_dtypes.int4
    for region in _halves(recipe.shape, max_bytes) if is_half else _wholes(recipe, max_bytes):
        recorder = RecordingSource(source)
        values = recipe.read(recorder, region)
        for name in recorder.names:
            source.release(name)
        flat = dense(values).reshape(-1)
        # A view and no copy on little-endian machines; as integers, for bfloat16's sake.
        integers = flat.view(f"u{flat.itemsize}").astype(f"<u{flat.itemsize}", copy=False)
        yield (_packed(integers) if is_half else integers.view(np.uint8)).data


def _wholes(recipe: Recipe, max_bytes: int) -> Iterator[Region]:
    return pieces(recipe.shape, recipe.dtype.itemsize, max_bytes)


def _halves(shape: tuple[int, ...], max_bytes: int) -> Iterator[Region]:
    """The same of elements that are half a byte: pieces are of whole bytes."""
    if not shape or shape[-1] % 2:
        raise ValueError(f"int4 of shape {shape}: rows are no whole bytes")
    for *outer, (start, stop) in pieces((*shape[:-1], shape[-1] // 2), 1, max_bytes):
        yield (*outer, (2 * start, 2 * stop))


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return codes[0::2] & np.uint8(15) | codes[1::2] << np.uint8(4)
