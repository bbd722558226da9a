"""Arrays of the host where a GPU's kernels find them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.gpu_kernels.driver import Device

__all__ = ["LentMemory", "lend"]

Array = NDArray[Any]
_ALIGNMENT = 256
"""Addresses on the GPU are the host's, modulo this."""
_GUARD = _ALIGNMENT
"""Bytes before and behind an array that nobody may write."""
_UNTOUCHED = 0xA5


@dataclass
class _Block:
    array: Array
    memory: int
    offset: int
    written: bool = False

    @property
    def size(self) -> int:
        return self.offset + self.array.nbytes + _GUARD


class LentMemory:
    """Copies of arrays on a GPU, for one call of a kernel. Made by :func:`lend`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._blocks: dict[int, _Block] = {}

    def reads(self, array: Array) -> int:
        """The address of a copy of ``array``, which the kernel must leave as it is."""
        block = self._block(array)
        return block.memory + block.offset

    def writes(self, array: Array) -> int:
        """The same for what comes back into ``array``, which the kernel may also read."""
        block = self._block(array)
        block.written = True
        return block.memory + block.offset

    def _block(self, array: Array) -> _Block:
        assert array.flags.c_contiguous
        address = array.ctypes.data
        known = self._blocks.get(address)
        if known is not None:
            assert known.array.nbytes == array.nbytes
            return known
        offset = _GUARD + address % _ALIGNMENT
        block = _Block(array, 0, offset)
        block.memory = self._device.allocate(block.size)
        self._blocks[address] = block
        around = np.full(block.size, _UNTOUCHED, np.uint8)
        around[offset : offset + array.nbytes] = _bytes(array)
        self._device.upload(block.memory, around)
        return block

    def fetch(self) -> None:
        """Bring back what was written; whatever else changed is an ``AssertionError``."""
        for block in self._blocks.values():
            found = self._device.download(block.memory, block.size)
            end = block.offset + block.array.nbytes
            own = found[block.offset : end]
            assert (found[: block.offset] == _UNTOUCHED).all(), "written before an array's begin"
            assert (found[end:] == _UNTOUCHED).all(), "written behind an array's end"
            if block.written:
                block.array[...] = own.view(block.array.dtype).reshape(block.array.shape)
            else:
                assert (own == _bytes(block.array)).all(), "an input was written"

    def free(self) -> None:
        """Give all of it back."""
        for block in self._blocks.values():
            self._device.free(block.memory)


def _bytes(array: Array) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


@contextmanager
def lend(device: Device) -> Iterator[LentMemory]:
    """Memory on ``device`` whose outputs are back in their arrays when the block ends well."""
    memory = LentMemory(device)
    try:
        yield memory
        memory.fetch()
    finally:
        memory.free()
