from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.numerics import Quantity
from tests.kernels.delta_rule_cases import GATES, KEYS, make_case, with_norm
from tests.kernels.op_runner import assert_close, assert_same_bits, poison_padding
from tests.simt.delta_rule_runner import check, check_in_place, check_two_bytes, run
from tools.gpu_kernels.kernel_library import KernelLibrary

CHUNK = 32


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", KEYS)
def test_keys_and_gates(kernels: KernelLibrary, keys: str, gates: str) -> None:
    case = make_case(0, T=2 * CHUNK + 6, keys=keys, gates=gates, lengths=[2 * CHUNK + 6, 57])
    check(kernels, "chunks", case)


@pytest.mark.parametrize("heads", [(1, 1), (2, 2), (2, 6)])
@pytest.mark.parametrize("T", [1, 8, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_lengths_and_head_ratios(kernels: KernelLibrary, T: int, heads: tuple[int, int]) -> None:
    case = make_case(T, T=T, heads=heads, lengths=[T, T // 2])
    check(kernels, "chunks", case)
    check(kernels, "chunks", with_norm(case, seed=T))


@pytest.mark.parametrize("dims", [(128, 128), (64, 128), (128, 64), (127, 33), (9, 17), (1, 1)])
def test_sizes(kernels: KernelLibrary, dims: tuple[int, int]) -> None:
    case = make_case(1, T=CHUNK + 9, heads=(1, 2), dims=dims, lengths=[CHUNK + 9, 5])
    check(kernels, "chunks", case)
    check(kernels, "chunks", with_norm(case, seed=2))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_activations_of_two_bytes(kernels: KernelLibrary, dtype: str, norm: bool) -> None:
    case = make_case(7, T=CHUNK + 2, heads=(1, 2), dims=(128, 128), lengths=[CHUNK + 2, 2])
    check_two_bytes(kernels, "chunks", with_norm(case, seed=8) if norm else case, dtype)


@pytest.mark.parametrize("gates", ["typical", "keep and overwrite", "mixed"])
@pytest.mark.parametrize("keys", ["cosine 0.9", "identical", "SiLU-shaped"])
def test_no_drift_over_4096_tokens(kernels: KernelLibrary, keys: str, gates: str) -> None:
    check(kernels, "chunks", make_case(1, T=4096, keys=keys, gates=gates, heads=(1, 1)))


def test_no_drift_over_4096_tokens_of_full_width(kernels: KernelLibrary) -> None:
    case = make_case(3, T=4096, keys="cosine 0.9", heads=(1, 1), dims=(128, 128))
    check(kernels, "chunks", case)


@pytest.mark.parametrize("gates", ["typical", "mixed"])
def test_padding_is_not_read(kernels: KernelLibrary, gates: str) -> None:
    lengths = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 2]
    case = make_case(4, T=2 * CHUNK + 2, gates=gates, lengths=lengths)
    check(kernels, "chunks", poison_padding(case, "qkv", "a", "b"))
    check(kernels, "chunks", poison_padding(with_norm(case, seed=4), "qkv", "a", "b", "z"))


@pytest.mark.parametrize("norm_eps", [0.0, 1e-2])
def test_padding_is_nothing_with_any_eps(kernels: KernelLibrary, norm_eps: float) -> None:
    """Not even without one, where a vector of zeros has no unit vector."""
    case = make_case(4, T=CHUNK + 3, lengths=[CHUNK + 3, 5])
    check(kernels, "chunks", poison_padding(case, "qkv", "a", "b"), norm_eps)


def test_rows_without_tokens_keep_their_state_to_the_bit(kernels: KernelLibrary) -> None:
    case = make_case(4, T=CHUNK + 3, lengths=[0, CHUNK + 3])
    case["state"][0, :, 0, :3] = [-0.0, 1e-42, 3e38]
    o, new_state = run(kernels, "chunks", poison_padding(case, "qkv", "a", "b"))
    assert not o[0].any()
    assert_same_bits(new_state[0], case["state"][0])


def test_a_bad_row_does_not_touch_its_neighbours(kernels: KernelLibrary) -> None:
    case = make_case(5, T=CHUNK + 3, lengths=[CHUNK + 3] * 3)
    clean, clean_state = run(kernels, "chunks", case)
    case["qkv"][1, 0] = np.nan
    o, new_state = run(kernels, "chunks", case)
    assert np.isnan(o[1]).any()
    assert np.isnan(new_state[1]).any()
    for row in (0, 2):
        assert_same_bits(o[row], clean[row])
        assert_same_bits(new_state[row], clean_state[row])


def test_a_state_may_be_updated_where_it_lies(kernels: KernelLibrary) -> None:
    check_in_place(kernels, "chunks", make_case(5, T=CHUNK + 3, lengths=[CHUNK + 3, 2]))


@pytest.mark.parametrize("beta_logit", [-5.0, -14.0, -40.0])
def test_a_faint_beta_is_accurate_for_its_size(kernels: KernelLibrary, beta_logit: float) -> None:
    case = make_case(9, T=CHUNK)
    case["state"][:] = 0.0
    case["b"][:] = beta_logit
    check(kernels, "chunks", case)


@pytest.mark.parametrize("gates", GATES)
def test_chunks_are_steps(kernels: KernelLibrary, gates: str) -> None:
    case = with_norm(make_case(6, T=70, keys="SiLU-shaped", gates=gates), seed=6)
    o, state = run(kernels, "chunks", case)
    expected_o, expected_state = run(kernels, "steps", case)
    assert_close(o, expected_o)
    assert_close(state, expected_state, Quantity.STATE)


@pytest.mark.parametrize("split", [1, CHUNK - 1, CHUNK, CHUNK + 9])
def test_a_split_sequence_is_the_whole(kernels: KernelLibrary, split: int) -> None:
    """The rest by the other kernel, as decode follows prefill."""
    case = make_case(8, T=50, keys="cosine 0.8")
    expected_o, expected_state = run(kernels, "chunks", case)
    parts = [
        {name: np.ascontiguousarray(case[name][:, tokens]) for name in ("qkv", "a", "b")}
        for tokens in (slice(0, split), slice(split, 50))
    ]
    o, state = run(kernels, "chunks", {**case, **parts[0], "lengths": np.array([split])})
    rest = {**case, **parts[1], "state": state, "lengths": np.array([50 - split])}
    rest_o, state = run(kernels, "steps", rest)
    assert_close(np.concatenate([o, rest_o], axis=1), expected_o)
    assert_close(state, expected_state, Quantity.STATE)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_any_shape(kernels: KernelLibrary, data: st.DataObject) -> None:
    draw, size = data.draw, st.integers(1, 40)
    key_heads, group, T = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 80))
    lengths = draw(st.lists(st.integers(0, T), min_size=1, max_size=2))
    case = make_case(
        draw(st.integers(0, 99)),
        T=T,
        keys=draw(st.sampled_from(sorted(KEYS))),
        gates=draw(st.sampled_from(sorted(GATES))),
        lengths=lengths,
        heads=(key_heads, key_heads * group),
        dims=(draw(size), draw(size)),
    )
    check(kernels, "chunks", poison_padding(case, "qkv", "a", "b"))
