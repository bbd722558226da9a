"""The memory behind a session's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import CapacityError
from deltaport.state_layout import CAPACITY, StateLayout, StateTensor

__all__ = ["NUMPY_DTYPES", "StateBuffers", "doubled_to"]

Buffer = NDArray[Any]
"""In the dtype of its tensor; bfloat16, which numpy has not, as its bits in uint16."""

_EVERY = slice(None)
NUMPY_DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


class StateBuffers:
    """Arrays for every row of a ``StateLayout``: one for ``in_place``, two for ``swap``.

    ``capacity`` is how many tokens the key/value caches can hold; it grows by doubling, so that a
    sequence of n tokens costs O(n) copying in all.
    """

    def __init__(self, layout: StateLayout, slots: int, capacity: int) -> None:
        self.layout = layout
        self.slots = slots
        self.capacity = capacity
        self._past = [self._allocate(tensor, capacity) for tensor in layout]
        self._spare = {
            i: self._allocate(tensor, capacity)
            for i, tensor in enumerate(layout)
            if tensor.update == "swap"
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(a.nbytes for a in (*self._past, *self._spare.values()))

    def __getitem__(self, name: str) -> Buffer:
        """The current contents of the tensor called ``name`` as an input; a view."""
        for tensor, array in zip(self.layout, self._past, strict=True):
            if tensor.input == name:
                return array
        raise KeyError(name)

    def inputs(self, slots: slice = _EVERY) -> Iterator[tuple[str, Buffer]]:
        """What a step over neighbouring ``slots`` reads."""
        for tensor, array in zip(self.layout, self._past, strict=True):
            yield tensor.input, array[slots]

    def outputs(self, slots: slice = _EVERY) -> Iterator[tuple[str, Buffer]]:
        """Where a step over neighbouring ``slots`` writes."""
        for i, tensor in enumerate(self.layout):
            yield tensor.output, self._spare.get(i, self._past[i])[slots]

    def commit(self, slots: slice = _EVERY) -> None:
        """After a step over ``slots``: what was written becomes what the next one reads."""
        for i, written in self._spare.items():
            if len(range(self.slots)[slots]) == self.slots:
                self._past[i], self._spare[i] = written, self._past[i]
            else:
                self._past[i][slots] = written[slots]

    def reserve(self, capacity: int, used: int) -> None:
        """Make room for ``capacity`` tokens, keeping the first ``used`` of every slot.

        Raises ``CapacityError``, and leaves everything as it was, where there is no memory for it.
        """
        if capacity <= self.capacity:
            return
        doubled = doubled_to(self.capacity, capacity)
        past, spare = list(self._past), dict(self._spare)
        for i, tensor in enumerate(self.layout):
            if CAPACITY not in tensor.shape:
                continue
            kept = _part(tensor, slice(None), used)
            past[i] = self._allocate(tensor, doubled)
            past[i][kept] = self._past[i][kept]
            if i in spare:
                spare[i] = self._allocate(tensor, doubled)
        # Only now, when nothing can fail any more.
        self._past, self._spare, self.capacity = past, spare, doubled

    def clear(self, slot: int) -> None:
        """Zero what a sequence starts from. Caches need no more than a length of 0."""
        for tensor, array in zip(self.layout, self._past, strict=True):
            if CAPACITY not in tensor.shape:
                array[slot] = 0

    def copy(self, slot: int, used: int) -> dict[str, Buffer]:
        """What ``slot`` holds, of caches the first ``used`` columns, by input name."""
        return {
            tensor.input: array[_part(tensor, slot, used)].copy()
            for tensor, array in zip(self.layout, self._past, strict=True)
        }

    def write(self, slot: int, contents: Mapping[str, Buffer], used: int) -> None:
        """Put back what :meth:`copy` gave. There must be room for ``used`` columns."""
        for tensor, array in zip(self.layout, self._past, strict=True):
            array[_part(tensor, slot, used)] = contents[tensor.input]

    def _allocate(self, tensor: StateTensor, capacity: int) -> Buffer:
        shape = tensor.concrete_shape(self.slots, capacity)
        try:
            return np.zeros(shape, dtype=NUMPY_DTYPES[tensor.dtype])
        except (MemoryError, ValueError):  # ValueError: more than the address space
            raise CapacityError(
                f"no memory for {tensor.input} of shape {list(shape)}; use fewer sequences or "
                "shorter ones"
            ) from None


def doubled_to(capacity: int, needed: int) -> int:
    """``capacity``, doubled until it holds ``needed`` tokens."""
    while capacity < needed:
        capacity *= 2
    return capacity


def _part(tensor: StateTensor, slots: int | slice, used: int) -> tuple[int | slice, ...]:
    """Index of the ``slots`` of a tensor; of a cache, its first ``used`` columns."""
    return (slots, *(slice(0, used if dim == CAPACITY else None) for dim in tensor.shape[1:]))
