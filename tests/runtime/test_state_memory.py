"""State memory beside plain arrays: whatever is done to slots, each holds what it should."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from deltaport.errors import CapacityError
from deltaport.runtime import _native

Bytes = NDArray[np.uint8]
Size = int | str

PAGE = 4096
ITEM_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8}


@dataclass(frozen=True)
class Tensor:
    kind: str
    dtype: str
    shape: tuple[Size, ...]
    in_place: bool = False

    def row(self, name: str) -> tuple[Any, ...]:
        shape = ["slots", *self.shape]
        return (name, f"next_{name}", self.kind, self.dtype, shape, self.in_place, False)

    @property
    def is_cache(self) -> bool:
        return "capacity" in self.shape

    def dims(self, columns: int) -> tuple[int, int, int]:
        """[planes, columns, column bytes] of a slot; tensors of fixed size are one column."""
        axis = self.shape.index("capacity") if self.is_cache else 0
        before = [int(n) for n in self.shape[:axis]]
        after = [int(n) for n in self.shape[axis + self.is_cache :]]
        columns = columns if self.is_cache else 1
        return int(np.prod(before)), columns, int(np.prod(after)) * ITEM_SIZES[self.dtype]


def layout_of(*tensors: Tensor) -> list[tuple[Any, ...]]:
    return [tensor.row(f"{tensor.kind}_{i}") for i, tensor in enumerate(tensors)]


def recurrent(*shape: Size) -> Tensor:
    return Tensor("recurrent", "float32", shape)


def cache(dtype: str, *shape: Size, in_place: bool = True) -> Tensor:
    return Tensor("kv", dtype, shape, in_place)


PAGES = (
    recurrent(64, 64),
    cache("float16", 2, "capacity", 256),
    Tensor("conv", "float16", (4, 512)),
)
ODD = (
    recurrent(5),
    cache("float32", 3, "capacity"),
    cache("bfloat16", "capacity", 7, in_place=False),
    Tensor("conv", "float16", (3,)),
    cache("int64", 2, 3, "capacity", in_place=False),
)
# Rows that are moved by their pages: alone, or together with such that are not.
LARGE = (recurrent(16, 64, 64), cache("float32", 2, "capacity", 1024))
TWO_BUFFERS = (cache("float32", 2, "capacity", 1024, in_place=False), recurrent(16, 64, 65), *ODD)
# Caches whose columns are mapped for a copy: with whole pages a column, and without.
SHARED = (cache("float32", 2, "capacity", 4096), cache("float32", 3, "capacity", 1088), *ODD)
CAPACITY = 64


@dataclass(frozen=True)
class Slot:
    used: int
    arrays: list[Bytes]


class Slots(RuleBasedStateMachine):
    tensors: tuple[Tensor, ...]
    memory: Any
    slots: list[Slot]
    random: np.random.Generator

    @initialize(
        tensors=st.sampled_from([PAGES, ODD, LARGE, TWO_BUFFERS, SHARED]),
        count=st.integers(1, 5),
        seed=st.integers(0, 2**32 - 1),
    )
    def start(self, tensors: tuple[Tensor, ...], count: int, seed: int) -> None:
        self.tensors = tensors
        self.memory = _native.StateMemory(layout_of(*tensors), count, CAPACITY)
        self.slots = [self.empty() for _ in range(count)]
        self.random = np.random.default_rng(seed)
        assert self.memory.resident_bytes() == 0

    def empty(self) -> Slot:
        return Slot(0, [np.zeros(tensor.dims(0), np.uint8) for tensor in self.tensors])

    def bytes(self, *shape: int) -> Bytes:
        return self.random.integers(0, 256, shape, np.uint8)

    def a_slot(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.slots) - 1))

    def used(self) -> list[int]:
        return [slot.used for slot in self.slots]

    def window(self, t: int, first: int, count: int, *, past: bool) -> Bytes:
        """Tensor ``t`` of ``count`` slots: [count, planes, columns, column bytes]."""
        of = self.memory.past if past else self.memory.present
        array: Bytes = of(t, first, count)
        return array.reshape(count, *self.tensors[t].dims(self.memory.capacity))

    @rule(data=st.data(), done=st.booleans())
    def step(self, data: st.DataObject, done: bool) -> None:
        first = self.a_slot(data)
        count = data.draw(st.integers(1, len(self.slots) - first))
        window = range(first, first + count)
        self.memory.unify(first, [self.slots[i].used for i in window])
        assert len({self.memory.parity(i) for i in window}) == 1
        new = [data.draw(st.integers(0, self.memory.capacity - self.slots[i].used)) for i in window]
        written = [
            Slot(self.slots[i].used + n, list(self.slots[i].arrays))
            for i, n in zip(window, new, strict=True)
        ]
        for t, tensor in enumerate(self.tensors):
            past = self.window(t, first, count, past=True)
            present = self.window(t, first, count, past=False)
            assert (past.ctypes.data == present.ctypes.data) == tensor.in_place
            for i, slot in enumerate(written):
                planes, columns, size = tensor.dims(new[i])
                kept = self.slots[first + i].arrays[t]
                if tensor.is_cache:
                    array = np.concatenate([kept, self.bytes(planes, columns, size)], axis=1)
                    start = kept.shape[1] if tensor.in_place else 0
                else:
                    array, start = self.bytes(planes, columns, size), 0
                present[i, :, start : array.shape[1]] = array[:, start:]
                slot.arrays[t] = array
        if done:
            self.memory.commit(first, count)
            self.slots[first : first + count] = written

    @rule(data=st.data())
    def exchange(self, data: st.DataObject) -> None:
        a, b = self.a_slot(data), self.a_slot(data)
        parities = self.memory.parity(a), self.memory.parity(b)
        self.memory.exchange(a, b, self.slots[a].used, self.slots[b].used)
        self.slots[a], self.slots[b] = self.slots[b], self.slots[a]
        assert (self.memory.parity(b), self.memory.parity(a)) == parities

    @precondition(lambda self: len(self.slots) < 8)
    @rule(slots=st.integers(0, 3), capacity=st.sampled_from([0, 0, 1, 32]))
    def reserve(self, slots: int, capacity: int) -> None:
        more = len(self.slots) + slots, self.memory.capacity + capacity
        self.memory.reserve(*more, self.used())
        assert (self.memory.slots, self.memory.capacity) == more
        self.slots += [self.empty() for _ in range(slots)]

    @rule(slots=st.sampled_from([0, 2**45, 2**62]), capacity=st.sampled_from([2**45, 2**63 - 1]))
    def reserve_too_much(self, slots: int, capacity: int) -> None:
        before = self.memory.slots, self.memory.capacity
        with pytest.raises(CapacityError, match="no memory for"):
            self.memory.reserve(slots, capacity, self.used())
        assert (self.memory.slots, self.memory.capacity) == before

    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        i = self.a_slot(data)
        used = data.draw(st.integers(0, self.slots[i].used))
        self.memory.trim(i, used)
        arrays = [
            array[:, :used] if tensor.is_cache else array
            for tensor, array in zip(self.tensors, self.slots[i].arrays, strict=True)
        ]
        self.slots[i] = Slot(used, arrays)

    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        i = self.a_slot(data)
        self.memory.clear(i)
        self.slots[i] = self.empty()

    @precondition(lambda self: len(self.slots) > 1)
    @rule(data=st.data(), packed=st.booleans())
    def duplicate(self, data: st.DataObject, packed: bool) -> None:
        origin = self.a_slot(data)
        to = (origin + data.draw(st.integers(1, len(self.slots) - 1))) % len(self.slots)
        used = self.slots[origin].used
        self.memory.clear(to)
        if packed:
            for t in range(len(self.tensors)):
                self.memory.unpack(t, to, used, self.memory.pack(t, origin, used))
        else:
            self.memory.duplicate(origin, to, used)
        self.slots[to] = replace(self.slots[origin])

    @invariant()
    def each_slot_holds_its_state(self) -> None:
        for i, slot in enumerate(self.slots):
            for t, array in enumerate(slot.arrays):
                assert self.memory.pack(t, i, slot.used) == array.tobytes()
                past = self.window(t, i, 1, past=True)[0]
                np.testing.assert_array_equal(past[:, : array.shape[1]], array)

    def teardown(self) -> None:
        if not hasattr(self, "memory"):
            return
        for i in range(len(self.slots)):
            self.memory.clear(i)
        for i in range(len(self.slots)):
            self.slots[i] = self.empty()
        # Pages that two slots share, and the first and last of a buffer, cannot be given back.
        edges = 0
        for tensor in self.tensors:
            if np.prod(tensor.dims(self.memory.capacity)) % PAGE:
                edges += (1 if tensor.in_place else 2) * (len(self.slots) + 1)
        assert self.memory.resident_bytes() <= edges * PAGE
        self.each_slot_holds_its_state()


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def memory_of(*tensors: Tensor, slots: int = 2, capacity: int = CAPACITY) -> Any:
    return _native.StateMemory(layout_of(*tensors), slots, capacity)


@pytest.mark.parametrize(
    ("tensor", "slots", "capacity", "shape"),
    [
        (cache("float32", 1, "capacity", 1), 2, 2**62, f"[2, 1, {2**62}, 1]"),
        (cache("float32", 1, "capacity", 1), 2**40, 2**40, f"[{2**40}, 1, {2**40}, 1]"),
        (cache("float16", "capacity", 2**20), 8, 2**30, f"[8, {2**30}, {2**20}]"),
        (recurrent(2**62, 2**62, 0), 1, 1, f"[1, {2**62}, {2**62}, 0]"),
        (recurrent(3, -7), 1, 1, "[1, 3, -7]"),
    ],
)
def test_more_than_there_is(tensor: Tensor, slots: int, capacity: int, shape: str) -> None:
    with pytest.raises(CapacityError) as raised:
        memory_of(tensor, slots=slots, capacity=capacity)
    assert str(raised.value) == (
        f"no memory for {tensor.kind}_0 of shape {shape}; use fewer sequences or shorter ones"
    )


def test_tensors_without_elements() -> None:
    memory = memory_of(recurrent(0), cache("float32", 0, "capacity"), capacity=0)
    memory.exchange(0, 1, 0, 0)
    memory.reserve(3, 2, [0, 0])
    assert memory.pack(0, 2, 0) == memory.pack(1, 2, 2) == b""


def test_a_large_context_costs_nothing_before_it_is_used() -> None:
    memory = memory_of(cache("float16", 2, "capacity", 256), slots=64, capacity=1 << 18)
    assert memory.resident_bytes() == 0
    memory.past(0, 5)[: 3 * PAGE] = 1
    assert memory.resident_bytes() == 3 * PAGE
    memory.trim(5, 12)
    assert memory.resident_bytes() == 2 * PAGE
    memory.clear(5)
    assert memory.resident_bytes() == 0


@pytest.mark.parametrize("tensors", [PAGES, LARGE])
def test_an_exchange_leaves_no_pages_behind(tensors: tuple[Tensor, ...]) -> None:
    memory = memory_of(*tensors, capacity=256)
    for t in range(len(tensors)):
        memory.unpack(t, 0, 200, b"\1" * memory.packed_bytes(t, 200))
    before = memory.resident_bytes()
    memory.exchange(0, 1, 200, 0)
    fixed = sum(memory.packed_bytes(t, 0) for t in range(len(tensors)))
    assert before <= memory.resident_bytes() <= before + fixed
    memory.clear(1)
    assert memory.resident_bytes() <= fixed


def test_exchanges_do_not_fill_the_table_of_mappings() -> None:
    memory = memory_of(*LARGE, slots=8, capacity=256)
    random = np.random.default_rng(0)
    for slot in range(8):
        for t in range(2):
            memory.unpack(t, slot, 256, bytes([slot]) * memory.packed_bytes(t, 256))
    held = list(range(8))
    before = len(Path("/proc/self/maps").read_text().splitlines())
    for _ in range(500):
        a, b = (int(n) for n in random.integers(0, 8, 2))
        memory.exchange(a, b, 256, 256)
        held[a], held[b] = held[b], held[a]
    after = len(Path("/proc/self/maps").read_text().splitlines())
    assert after <= before + 3 * 8 + 10
    for slot, value in enumerate(held):
        assert set(memory.pack(1, slot, 256)) == {value}


def held_bytes(memory: Any) -> int:
    """What the caches of :func:`filled` have in memory, pages mapped twice counted once."""
    begin = memory.past(0, 0).ctypes.data
    end = begin + memory.slots * 4 * memory.capacity * 4096
    held, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            first, last = (int(text, 16) for text in found.groups())
            inside = first < end and begin < last
        elif inside and line.startswith("Pss:"):
            held += 1024 * int(line.split()[1])
    return held


def filled(value: int, used: int, *, slots: int, capacity: int) -> Any:
    """Slots of which the first has ``used`` columns of 16 KiB."""
    memory = memory_of(cache("float32", 4, "capacity", 1024), slots=slots, capacity=capacity)
    memory.unpack(0, 0, used, bytes([value]) * memory.packed_bytes(0, used))
    return memory


@pytest.mark.skipif(sys.platform != "linux", reason="pages are shared on Linux alone")
def test_copies_share_their_pages_until_they_write() -> None:
    memory = filled(7, 1000, slots=9, capacity=1024)
    size = memory.packed_bytes(0, 1000)
    before = held_bytes(memory)
    for slot in range(1, 9):
        memory.duplicate(0 if slot % 2 else slot - 1, slot, 1000)
    for slot in range(9):
        assert memory.pack(0, slot, 1000) == bytes([7]) * size
        column = memory.past(0, slot).reshape(4, 1024, 4096)
        column[:, 1000] = slot
    assert held_bytes(memory) < before + size // 2
    for slot in range(9):
        column = memory.past(0, slot).reshape(4, 1024, 4096)
        assert (column[:, :1000] == 7).all()
        assert (column[:, 1000] == slot).all()
    memory.past(0, 3).reshape(4, 1024, 4096)[:, :1000] = 8
    assert held_bytes(memory) > before + size // 2
    assert memory.pack(0, 4, 1000) == memory.pack(0, 0, 1000) == bytes([7]) * size
    for slot in range(9):
        memory.clear(slot)
    assert held_bytes(memory) < before - size // 2
    assert memory.resident_bytes() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="pages are shared on Linux alone")
def test_copies_that_are_exchanged_still_share_their_pages() -> None:
    memory = filled(7, 1000, slots=4, capacity=1024)
    before = held_bytes(memory)
    memory.duplicate(0, 1, 1000)
    for _ in range(8):  # around, by way of slots that are empty and slots that are not
        for a, b, used_a, used_b in [
            (1, 2, 1000, 0),
            (2, 3, 1000, 0),
            (0, 3, 1000, 1000),
            (3, 1, 1000, 0),
        ]:
            memory.exchange(a, b, used_a, used_b)
    assert memory.pack(0, 0, 1000) == memory.pack(0, 1, 1000)
    assert held_bytes(memory) < before + memory.packed_bytes(0, 1000) // 2
    memory.reserve(6, 1024, [1000, 1000, 0, 0])
    assert memory.pack(0, 0, 1000) == memory.pack(0, 1, 1000)
    assert held_bytes(memory) < before + memory.packed_bytes(0, 1000) // 2


@pytest.mark.skipif(sys.platform != "linux", reason="pages are shared on Linux alone")
@pytest.mark.parametrize("used", [0, 1, 10, 100, 1000])
def test_a_row_exchanged_with_one_that_shares_keeps_none_of_its_pages(used: int) -> None:
    memory = filled(7, 1000, slots=3, capacity=1024)
    memory.unpack(0, 2, used, b"\1" * memory.packed_bytes(0, used))
    memory.duplicate(0, 1, 1000)
    memory.clear(1)
    memory.exchange(0, 2, 1000, used)
    assert memory.pack(0, 2, 1000) == bytes([7]) * memory.packed_bytes(0, 1000)
    assert memory.pack(0, 0, used) == b"\1" * memory.packed_bytes(0, used)
    memory.clear(2)
    assert "deltaport-state" not in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="pages are shared on Linux alone")
def test_more_copies_than_files_and_mappings() -> None:
    """Then they are copied: nothing fails, and nothing is left behind."""
    files, ranges = Path("/proc/self/fd"), Path("/proc/self/maps")
    before = len(list(files.iterdir())), len(ranges.read_text().splitlines())
    memories = [filled(value, 64, slots=2, capacity=65) for value in range(200)]
    for memory in memories:
        memory.duplicate(0, 1, 64)
    assert len(list(files.iterdir())) <= before[0] + 130
    for value, memory in enumerate(memories):
        assert memory.pack(0, 1, 64) == bytes([value]) * memory.packed_bytes(0, 64)
    del memory, memories
    assert len(list(files.iterdir())) <= before[0]
    assert len(ranges.read_text().splitlines()) < before[1] + 100


def test_bytes_of_a_slot() -> None:
    in_pages = cache("float16", 2, "capacity", 256)  # 512 bytes a column
    memory = memory_of(recurrent(5), in_pages, capacity=64)
    assert memory.slot_bytes(0) == 2 * 20
    assert memory.slot_bytes(1) == memory.slot_bytes(8) == 2 * 20 + 2 * PAGE
    assert memory.slot_bytes(9) == 2 * 20 + 2 * 2 * PAGE
    unrounded = memory_of(cache("float32", 3, "capacity", in_place=False), capacity=64)
    assert unrounded.slot_bytes(7) == 2 * 3 * 7 * 4


@pytest.mark.parametrize(
    "row",
    [
        ("a", "b", "cache", "float32", ["slots"], False, False),
        ("a", "b", "kv", "float8", ["slots"], False, False),
        ("a", "b", "kv", "float32", ["slot"], False, False),
    ],
)
def test_unknown_words_in_a_layout(row: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="which means nothing"):
        _native.StateMemory([row], 1, 1)
