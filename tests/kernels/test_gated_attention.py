from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import GATED_ATTENTION
from deltaport.custom_ops.torch_bindings import gated_attention as gated_attention_in_torch
from deltaport.numerics import Quantity
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    poison_padding,
    run_op,
)
from tests.oracles.gated_attention import gated_attention

Case = dict[str, Any]
PER_TOKEN = ("q_gate", "k", "v", "cos", "sin")


def make_case(
    seed: int,
    *,
    T: int,
    lengths: list[int] | None = None,
    past: list[int] | None = None,
    heads: tuple[int, int] = (4, 2),
    D: int = 16,
    R: int = 8,
    spare: int = 0,
) -> Case:
    """Rows of ``lengths`` new tokens after ``past`` cached ones, ``spare`` columns never used."""
    rng = np.random.default_rng(seed)
    lengths = [T] if lengths is None else lengths
    past = [0] * len(lengths) if past is None else past
    (Hq, Hkv), B, capacity = heads, len(lengths), max(past) + T + spare
    angles = rng.uniform(-np.pi, np.pi, size=(B, T, R // 2))
    case = {
        "q_gate": rng.normal(size=(B, T, Hq * 2 * D)),
        "k": rng.normal(size=(B, T, Hkv * D)),
        "v": rng.normal(size=(B, T, Hkv * D)),
        "q_norm": rng.uniform(0.5, 1.5, size=D),
        "k_norm": rng.uniform(0.5, 1.5, size=D),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
        "past_key": rng.normal(size=(B, Hkv, capacity, D)),
        "past_value": rng.normal(size=(B, Hkv, capacity, D)),
    }
    single = {name: array.astype(np.float32) for name, array in case.items()}
    counts = {"lengths": np.array(lengths, np.int64), "past_lengths": np.array(past, np.int64)}
    return single | counts


def poison(case: Case) -> Case:
    """NaN wherever the op must not look: padded tokens and the cache beyond the past."""
    poisoned = poison_padding(case, *PER_TOKEN)
    for row, past in enumerate(case["past_lengths"]):
        poisoned["past_key"][row, :, past:] = np.nan
        poisoned["past_value"][row, :, past:] = np.nan
    return poisoned


def usual_scale(case: Case) -> dict[str, float]:
    """The attribute ``scale`` as models have it."""
    return {"scale": case["q_norm"].size ** -0.5}


def check(case: Case, *, optimized: bool = True, **attributes: Any) -> None:
    attributes = usual_scale(case) | attributes
    o, *present = run_op(GATED_ATTENTION, case, attributes, optimized=optimized)
    expected_o, *expected_present = gated_attention(**case, **attributes)
    assert_close(o, expected_o)
    assert not o[is_padding(o.shape[1], case["lengths"])].any()
    for name, cache, expected in zip(("key", "value"), present, expected_present, strict=True):
        before = case[f"past_{name}"]
        assert cache.shape == before.shape
        for row, past in enumerate(case["past_lengths"]):
            end = past + case["lengths"][row]
            assert_same_bits(cache[row, :, :past], before[row, :, :past])
            new, expected_new = cache[row, :, past:end], expected[row, :, past:end]
            assert_close(new, expected_new, Quantity.STATE)
            if name == "value":  # values are copied
                assert_same_bits(new, expected_new.astype(np.float32))


@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (4, 2), (6, 2), (8, 1), (16, 2)])
@pytest.mark.parametrize("T", [1, 2, 17])
def test_grouped_query_heads(T: int, heads: tuple[int, int]) -> None:
    check(make_case(T, T=T, heads=heads, lengths=[T, T], past=[0, 5]))


@pytest.mark.parametrize(("D", "R"), [(16, 2), (16, 4), (16, 16), (2, 2), (64, 16), (256, 64)])
def test_rotary_covers_the_first_dimensions(D: int, R: int) -> None:
    check(make_case(1, T=6, D=D, R=R, lengths=[6, 3], past=[2, 0]))


def test_ragged_rows_and_pasts() -> None:
    case = make_case(2, T=7, lengths=[0, 1, 6, 7, 0, 7, 3], past=[0, 0, 9, 4, 9, 0, 1])
    check(case)


def test_padding_may_hold_nan() -> None:
    case = make_case(3, T=5, lengths=[0, 1, 4, 5], past=[3, 0, 2, 1])
    check(poison_padding(case, *PER_TOKEN))


def test_dead_cache_may_hold_nan() -> None:
    check(poison(make_case(4, T=5, lengths=[5, 5, 5], past=[0, 3, 7], spare=11)))


def test_padding_and_dead_cache_may_hold_nan() -> None:
    check(poison(make_case(5, T=5, lengths=[0, 1, 4, 5], past=[3, 0, 2, 7], spare=3)))


@pytest.mark.parametrize("T", [1, 3])
def test_capacity_far_beyond_use(T: int) -> None:
    check(poison(make_case(6, T=T, lengths=[T, T], past=[2, 0], spare=3000)))


def test_a_long_past() -> None:
    check(poison(make_case(7, T=3, lengths=[3, 2], past=[4000, 1], spare=93)))


@pytest.mark.parametrize("T", [1, 4])
def test_nothing_to_do_and_nothing_cached(T: int) -> None:
    check(poison(make_case(8, T=T, lengths=[0, 0], past=[0, 0])))


def test_an_empty_row_keeps_its_cache_to_the_bit() -> None:
    case = poison(make_case(9, T=4, lengths=[0, 4], past=[6, 2]))
    for name in ("past_key", "past_value"):
        case[name][0, :, 0, :3] = [-0.0, 1e-42, 3e38]
    check(case)


def test_a_bad_row_does_not_touch_its_neighbours() -> None:
    case = make_case(10, T=5, lengths=[5, 5, 5], past=[1, 2, 3])
    clean = run_op(GATED_ATTENTION, case, usual_scale(case))
    case["v"][1, 0] = case["k"][1, 0] = np.nan
    bad = run_op(GATED_ATTENTION, case, usual_scale(case))
    assert_same_bits(bad[0][[0, 2]], clean[0][[0, 2]])
    for cache, clean_cache in zip(bad[1:], clean[1:], strict=True):
        for row, used in ((0, 6), (2, 8)):  # the rest is unspecified
            assert_same_bits(cache[row, :, :used], clean_cache[row, :, :used])


def test_large_scores_do_not_overflow() -> None:
    # Scores of thousands, of which each query's own key has by far the largest.
    case = make_case(11, T=12, heads=(2, 2), R=4)
    case["q_gate"].reshape(12, 2, 32)[..., :16] = case["k"].reshape(12, 2, 16)
    case["q_norm"][:] = case["k_norm"][:] = 60.0
    check(case)


def test_closed_and_open_gates() -> None:
    case = make_case(12, T=6)
    case["q_gate"].reshape(6, 4, 2, 16)[:, :, 1] = np.array([-200, 200, 0, 5])[:, None]
    check(case)


every_scale = pytest.mark.parametrize("scale", [1.0, 0.3, 0.01, 0.0, -0.5])


@every_scale
def test_scale_is_an_attribute(scale: float) -> None:
    check(make_case(15, T=5, lengths=[5, 2], past=[3, 0]), scale=scale)


@every_scale
def test_torch_scales_alike(scale: float) -> None:
    case = make_case(16, T=5, lengths=[5, 2], past=[3, 0])
    tensors = {name: torch.from_numpy(array) for name, array in case.items()}
    o, *_ = gated_attention_in_torch(**tensors, scale=scale)
    expected_o, *_ = gated_attention(**case, scale=scale)
    assert_close(o.numpy(), expected_o)


@pytest.mark.parametrize("norm_eps", [1e-6, 1e-2])
def test_norm_eps_is_an_attribute(norm_eps: float) -> None:
    case = make_case(13, T=5)
    case["q_gate"] *= 1e-2
    case["k"] *= 1e-2
    case["k"][0, 1] = 0.0
    check(case, norm_eps=norm_eps)


def test_without_graph_optimizations() -> None:
    check(poison(make_case(14, T=5, lengths=[0, 1, 5], past=[3, 0, 7], spare=2)), optimized=False)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    T=st.integers(1, 12),
    Hkv=st.integers(1, 3),
    ratio=st.integers(1, 4),
    R=st.integers(1, 6).map(lambda half: 2 * half),
    unrotated=st.integers(0, 9),
    spare=st.integers(0, 9),
    data=st.data(),
)
def test_any_shape(
    seed: int,
    T: int,
    Hkv: int,
    ratio: int,
    R: int,
    unrotated: int,
    spare: int,
    data: st.DataObject,
) -> None:
    rows = st.lists(st.tuples(st.integers(0, T), st.integers(0, 20)), min_size=1, max_size=4)
    lengths, past = (list(counts) for counts in zip(*data.draw(rows), strict=True))
    case = make_case(
        seed,
        T=T,
        lengths=lengths,
        past=past,
        heads=(Hkv * ratio, Hkv),
        D=R + unrotated,
        R=R,
        spare=spare,
    )
    check(poison(case))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), T=st.integers(2, 16), data=st.data())
def test_a_split_sequence_equals_the_whole(seed: int, T: int, data: st.DataObject) -> None:
    split = data.draw(st.integers(1, T - 1))
    case = poison(make_case(seed, T=T, lengths=[T, T], past=[0, 3]))
    expected_o, expected_key, _ = gated_attention(**case, **usual_scale(case))
    key, value, parts = case["past_key"], case["past_value"], []
    for part in (slice(0, split), slice(split, T)):
        piece = {name: case[name][:, part] for name in PER_TOKEN}
        counts = {
            "lengths": np.full(2, piece["k"].shape[1], np.int64),
            "past_lengths": case["past_lengths"] + part.start,
        }
        caches = {"past_key": key, "past_value": value}
        feeds = case | piece | counts | caches
        o, key, value = run_op(GATED_ATTENTION, feeds, usual_scale(case))
        parts.append(o)
    assert_close(np.concatenate(parts, axis=1), expected_o)
    assert_close(key[0, :, :T], expected_key[0, :, :T], Quantity.STATE)
