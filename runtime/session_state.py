"""What a session carries from step to step, to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.runtime import _native
from deltaport.state_layout import CAPACITY, StateLayout, StateTensor

__all__ = ["SessionState", "as_tensor", "row_state"]

Buffer = NDArray[Any]
"""In the dtype of its tensor; bfloat16, which numpy has not, as its bits in uint16."""

NUMPY_DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


class SessionState:
    """The state of all rows of a session, as copies; caches as far as the longest row has come.

    What a shorter row's caches hold beyond its own length is unspecified.
    """

    def __init__(self, native: _native.Session, layout: StateLayout) -> None:
        self.layout = layout
        self._native = native

    @property
    def capacity(self) -> int:
        """Columns that caches have room for now; they grow by themselves."""
        return self._native.capacity

    @property
    def nbytes(self) -> int:
        """Bytes of state that the rows have in memory."""
        return sum(self._native.row_bytes(row) for row in self._rows())

    def __getitem__(self, name: str) -> Buffer:
        """The tensor called ``name`` as an input, [rows,...]; raises ``KeyError``."""
        for at, tensor in enumerate(self.layout):
            if tensor.input == name:
                return self._tensor(at)
        raise KeyError(name)

    def inputs(self) -> Iterator[tuple[str, Buffer]]:
        """All tensors by their names as inputs."""
        for at, tensor in enumerate(self.layout):
            yield tensor.input, self._tensor(at)

    def _rows(self) -> list[int]:
        return [row for row in range(self._native.rows) if self._native.is_open(row)]

    def _tensor(self, at: int) -> Buffer:
        used = max((self._native.length(row) for row in self._rows()), default=0)
        parts = [row_state(self._native, self.layout, at, row, used) for row in self._rows()]
        return np.stack(parts)


def row_state(native: _native.Session, layout: StateLayout, at: int, row: int, used: int) -> Buffer:
    """Tensor ``at`` of a row without the slot dimension, caches cut to ``used`` columns; a copy."""
    return as_tensor(native.pack(at, row, used), layout.tensors[at], used)


def as_tensor(part: NDArray[np.uint8], tensor: StateTensor, used: int) -> Buffer:
    """``part``, the bytes of a row's ``tensor``, as what they are."""
    shape = [used if dim == CAPACITY else int(dim) for dim in tensor.shape[1:]]
    return part.view(NUMPY_DTYPES[tensor.dtype]).reshape(shape)
