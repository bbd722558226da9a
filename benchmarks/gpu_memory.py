"""What benchmarks of GPU kernels read: buffers of a GPU with numbers in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tools.gpu_kernels.driver import Device

__all__ = ["GpuMemory", "gpu_memory"]

Array = NDArray[Any]
_PIECE = 1 << 24
"""Numbers that are made once and repeated."""


class GpuMemory:
    """Buffers that live as long as it does. Made by :func:`gpu_memory`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.rng = np.random.default_rng(0)
        self._addresses: list[int] = []

    def empty(self, size: int) -> int:
        """The address of ``size`` bytes."""
        self._addresses.append(self.device.allocate(max(size, 1)))
        return self._addresses[-1]

    def of(self, array: Array) -> int:
        """The address of a copy of ``array``."""
        address = self.empty(array.nbytes)
        self.device.upload(address, np.ascontiguousarray(array))
        return address

    def floats(self, count: int, dtype: Any = ml_dtypes.bfloat16, scale: float = 1.0) -> int:
        """So many floats, normally distributed."""
        piece = self.rng.standard_normal(min(count, _PIECE), np.float32) * np.float32(scale)
        return self._repeated(piece.astype(dtype), count)

    def codes(self, count: int) -> int:
        """So many bytes, all values alike often."""
        return self._repeated(self.rng.integers(0, 256, min(count, _PIECE), np.uint8), count)

    def _repeated(self, piece: Array, count: int) -> int:
        address = self.empty(count * piece.itemsize)
        for begin in range(0, count, len(piece)):
            part = piece[: count - begin]
            self.device.upload(address + begin * piece.itemsize, part)
        return address

    def free(self) -> None:
        """Give all of it back."""
        for address in self._addresses:
            self.device.free(address)


@contextmanager
def gpu_memory(device: Device) -> Iterator[GpuMemory]:
    """Memory that is given back at the end of the block."""
    memory = GpuMemory(device)
    try:
        yield memory
    finally:
        memory.free()
