"""Buffers hold what was written, where the next step looks for it, however they grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deltaport.errors import CapacityError
from deltaport.runtime.state_buffers import StateBuffers
from deltaport.state_layout import StateKind, StateLayout, StateTensor, StateUpdate


def row(name: str, kind: StateKind, update: StateUpdate, *shape: int | str) -> StateTensor:
    return StateTensor(
        0, kind, f"past.{name}", f"present.{name}", ("slots", *shape), "float32", update, False
    )


LAYOUT = StateLayout(
    (
        row("key", "kv", "in_place", 2, "capacity", 3),
        row("conv", "conv", "in_place", 4),
        row("matrix", "recurrent", "swap", 5),
        row("cache", "kv", "swap", "capacity"),
    )
)


def buffers(capacity: int = 8) -> StateBuffers:
    return StateBuffers(LAYOUT, slots=2, capacity=capacity)


def test_everything_starts_at_zero_and_in_graph_order() -> None:
    state = buffers()
    assert [name for name, _ in state.inputs()] == [tensor.input for tensor in LAYOUT]
    assert [name for name, _ in state.outputs()] == [tensor.output for tensor in LAYOUT]
    for ports in (state.inputs(), state.outputs()):
        for (_, array), shape in zip(ports, [(2, 2, 8, 3), (2, 4), (2, 5), (2, 8)], strict=True):
            assert array.shape == shape
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            assert not array.any()


def test_in_place_rows_share_their_memory_and_swapped_ones_do_not() -> None:
    state = buffers()
    for tensor, (_, past), (_, present) in zip(
        LAYOUT, state.inputs(), state.outputs(), strict=True
    ):
        assert np.shares_memory(past, present) is (tensor.update == "in_place")


def test_a_commit_exchanges_what_is_read_and_what_is_written() -> None:
    state = buffers()
    for step in (1.0, 2.0, 3.0):
        for _, array in state.outputs():
            array[...] = step
        if step > 1:
            assert (state["past.matrix"] == step - 1).all()
        state.commit()
        for _, array in state.inputs():
            assert (array == step).all()


def test_without_a_commit_swapped_rows_keep_their_value() -> None:
    state = buffers()
    dict(state.outputs())["present.matrix"][...] = 9
    assert not state["past.matrix"].any()


def test_lookup_is_by_input_name() -> None:
    state = buffers()
    assert np.shares_memory(state["past.conv"], dict(state.inputs())["past.conv"])
    with pytest.raises(KeyError):
        state["present.conv"]


def test_growth_keeps_what_is_used_and_nothing_else() -> None:
    state = buffers()
    rng = np.random.default_rng(0)
    for _, array in state.inputs():
        array[...] = rng.normal(size=array.shape)
    before = {name: array.copy() for name, array in state.inputs()}
    state.reserve(9, used=5)
    assert state.capacity == 16
    assert state["past.key"].shape == (2, 2, 16, 3)
    assert np.array_equal(state["past.key"][:, :, :5], before["past.key"][:, :, :5])
    assert not state["past.key"][:, :, 5:].any()
    assert np.array_equal(state["past.cache"][:, :5], before["past.cache"][:, :5])
    for name in ("past.conv", "past.matrix"):
        assert np.array_equal(state[name], before[name])


def test_growth_reaches_both_buffers_of_a_swapped_cache() -> None:
    state = buffers()
    state.reserve(20, used=0)
    for _ in range(2):
        assert dict(state.inputs())["past.cache"].shape == (2, 32)
        assert dict(state.outputs())["present.cache"].shape == (2, 32)
        state.commit()


def test_after_growth_in_place_rows_still_share_their_memory() -> None:
    state = buffers()
    state.reserve(9, used=0)
    dict(state.outputs())["present.key"][...] = 4
    assert (state["past.key"] == 4).all()


@pytest.mark.parametrize(
    ("start", "wanted", "expected"),
    [(8, 8, 8), (8, 1, 8), (8, 9, 16), (8, 16, 16), (8, 17, 32), (3, 100, 192), (1, 2, 2)],
)
def test_capacity_doubles(start: int, wanted: int, expected: int) -> None:
    state = buffers(start)
    state.reserve(wanted, used=0)
    assert state.capacity == expected


def test_enough_room_is_not_touched() -> None:
    state = buffers()
    held = [array for _, array in state.inputs()]
    state.reserve(8, used=3)
    for (_, array), old in zip(state.inputs(), held, strict=True):
        assert np.shares_memory(array, old)


def test_nbytes_counts_both_buffers_of_a_pair() -> None:
    assert buffers().nbytes == 4 * 2 * (2 * 8 * 3 + 4 + 2 * 5 + 2 * 8)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_growth_that_finds_no_memory_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    state = buffers()
    for i, (_, array) in enumerate(state.inputs()):
        array[...] = i + 1
    zeros, made = np.zeros, 0

    def scarce(*arguments: Any, **options: Any) -> Any:
        nonlocal made
        made += 1
        if made == failing:
            raise MemoryError
        return zeros(*arguments, **options)

    monkeypatch.setattr(np, "zeros", scarce)
    with pytest.raises(CapacityError, match="no memory for past"):
        state.reserve(20, used=3)
    monkeypatch.undo()
    assert state.capacity == 8
    for i, (_, array) in enumerate(state.inputs()):
        assert (array == i + 1).all()
    state.reserve(20, used=3)
    assert state.capacity == 32
    assert dict(state.inputs())["past.key"].shape == (2, 2, 32, 3)


def test_more_than_there_can_be_is_refused() -> None:
    with pytest.raises(CapacityError, match="no memory for past"):
        buffers().reserve(2**60, used=0)


def test_a_slot_is_copied_and_put_back_as_far_as_it_is_used() -> None:
    state, rng = buffers(), np.random.default_rng(1)
    for _, array in state.inputs():
        array[...] = rng.normal(size=array.shape)
    before = {name: array.copy() for name, array in state.inputs()}
    held = state.copy(1, used=3)
    shapes = {"past.key": (2, 3, 3), "past.conv": (4,), "past.matrix": (5,), "past.cache": (3,)}
    assert {name: array.shape for name, array in held.items()} == shapes
    assert not any(np.shares_memory(held[name], array) for name, array in state.inputs())
    for _, array in state.inputs():
        array[...] = 0
    state.write(1, held, used=3)
    for name, array in state.inputs():
        assert not array[0].any()
        assert np.array_equal(held[name], state.copy(1, used=3)[name])
    assert np.array_equal(state["past.key"][1, :, :3], before["past.key"][1, :, :3])
    assert not state["past.key"][1, :, 3:].any()
    assert np.array_equal(state["past.conv"][1], before["past.conv"][1])


def test_clearing_a_slot_zeroes_what_a_sequence_starts_from() -> None:
    state = buffers()
    for _, array in state.inputs():
        array[...] = 3
    state.clear(0)
    for name in ("past.conv", "past.matrix"):
        assert not state[name][0].any()
        assert (state[name][1] == 3).all()


def test_a_commit_of_some_slots_leaves_the_others() -> None:
    state = buffers()
    for _, array in state.outputs():
        array[...] = 7
    held = state["past.matrix"]
    state.commit(slice(1, 2))
    assert state["past.matrix"] is held
    assert state["past.matrix"].tolist() == [[0] * 5, [7] * 5]
    for (_, read), (_, whole) in zip(state.inputs(slice(1, 2)), state.inputs(), strict=True):
        assert np.shares_memory(read, whole)
        assert np.array_equal(read, whole[1:])


def test_a_commit_of_all_slots_copies_nothing() -> None:
    state = buffers()
    written = dict(state.outputs())["present.matrix"]
    state.commit(slice(0, 2))
    assert np.shares_memory(state["past.matrix"], written)
