from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import GATED_DELTA_RULE
from deltaport.numerics import Quantity
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    poison_padding,
    run_op,
)
from tests.oracles import Array, silu
from tests.oracles.gated_delta_rule import gated_delta_rule

Case = dict[str, Any]
Rng = np.random.Generator


def with_cosine(cosine: float) -> Callable[[Rng, tuple[int, ...]], Array]:
    """Keys of a sequence that meet at about this cosine, as neighbouring tokens' keys do."""

    def keys(rng: Rng, shape: tuple[int, ...]) -> Array:
        common, own = rng.normal(size=(shape[0], 1, *shape[2:])), rng.normal(size=shape)
        mixture: Array = np.sqrt(cosine) * common + np.sqrt(1 - cosine) * own
        return mixture

    return keys


KEYS: dict[str, Callable[[Rng, tuple[int, ...]], Array]] = {
    "random": with_cosine(0.0),
    "cosine 0.5": with_cosine(0.5),
    "cosine 0.8": with_cosine(0.8),
    "cosine 0.9": with_cosine(0.9),
    "cosine 0.99": with_cosine(0.99),
    "identical": with_cosine(1.0),
    "alternating": lambda rng, shape: (
        with_cosine(1.0)(rng, shape) * (-1.0) ** np.arange(shape[1])[:, None, None]
    ),
    "SiLU-shaped": lambda rng, shape: silu(rng.normal(size=shape)),
    "tiny": lambda rng, shape: rng.normal(size=shape) * 1e-3,  # norms where norm_eps decides
    "now and then zero": lambda rng, shape: (
        rng.normal(size=shape) * rng.integers(0, 2, (*shape[:3], 1))
    ),
    "zero": lambda rng, shape: np.zeros(shape),
}

Gates = Callable[[Rng, tuple[int, ...]], tuple[Array, Array]]


def around(log_decay: float, beta_logit: float) -> Gates:
    """Gates spread about these values, each token its own."""
    return lambda rng, shape: (
        log_decay * np.exp(rng.normal(size=shape)),
        beta_logit + rng.normal(size=shape),
    )


def mixed(rng: Rng, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Neighbouring tokens that keep everything, forget everything, overwrite and ignore."""
    keep, forget = [-1e-7, -1e-3, -0.1], [-2.0, -20.0, -150.0, -1e4]
    log_decay = rng.choice(keep + forget, shape, p=[0.4, 0.2, 0.2, 0.05, 0.05, 0.05, 0.05])
    return log_decay, rng.choice([-30.0, -5.0, 0.0, 5.0, 30.0], shape)


# Each gives (log decay, logit of beta) for every token and value head.
GATES: dict[str, Gates] = {
    "typical": around(-1.0, 0.0),
    "keep and overwrite": around(-1e-5, 14.0),
    "keep and ignore": around(-1e-5, -14.0),
    "forget at once": around(-1e4, 0.0),
    "underflow": around(-150.0, 0.0),
    "mixed": mixed,
}


def make_case(
    seed: int,
    *,
    T: int,
    keys: str = "random",
    gates: str = "typical",
    lengths: list[int] | None = None,
    heads: tuple[int, int] = (2, 4),
    dims: tuple[int, int] = (16, 12),
) -> Case:
    rng = np.random.default_rng(seed)
    lengths = [T] if lengths is None else lengths
    (Hk, Hv), (Dk, Dv), B = heads, dims, len(lengths)
    q = rng.normal(size=(B, T, Hk * Dk))
    k = KEYS[keys](rng, (B, T, Hk, Dk)).reshape(B, T, Hk * Dk)
    v = rng.normal(size=(B, T, Hv * Dv))
    log_decay, b = GATES[gates](rng, (B, T, Hv))
    A_log, dt_bias = rng.normal(size=(2, Hv))
    # Solve log_decay = -exp(A_log) * softplus(a + dt_bias) for a.
    rate = -log_decay / np.exp(A_log)
    a = rate + np.log(-np.expm1(-rate)) - dt_bias
    case = {
        "qkv": np.concatenate([q, k, v], axis=-1),
        "a": a,
        "b": b,
        "A_log": A_log,
        "dt_bias": dt_bias,
        "state": rng.normal(size=(B, Hv, Dk, Dv)),
    }
    single = {name: array.astype(np.float32) for name, array in case.items()}
    return single | {"lengths": np.array(lengths, np.int64)}


def check(case: Case, *, optimized: bool = True, **attributes: Any) -> None:
    o, new_state = run_op(GATED_DELTA_RULE, case, attributes, optimized=optimized)
    expected_o, expected_state = gated_delta_rule(**case, **attributes)
    assert_close(o, expected_o)
    assert_close(new_state, expected_state, Quantity.STATE)
    assert not o[is_padding(o.shape[1], case["lengths"])].any()


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", KEYS)
def test_keys_and_gates(keys: str, gates: str) -> None:
    check(make_case(0, T=130, keys=keys, gates=gates, lengths=[130, 97]))


@pytest.mark.parametrize("heads", [(1, 1), (2, 2), (2, 4), (2, 6)])
@pytest.mark.parametrize("T", [1, 63, 64, 65, 200])
def test_lengths_and_head_ratios(T: int, heads: tuple[int, int]) -> None:
    check(make_case(T, T=T, heads=heads))


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", ["cosine 0.9", "identical", "SiLU-shaped"])
def test_no_drift_over_4096_tokens_of_full_width(keys: str, gates: str) -> None:
    check(make_case(1, T=4096, keys=keys, gates=gates, heads=(1, 2), dims=(128, 128)))


@pytest.mark.parametrize("gates", ["typical", "mixed"])
def test_ragged_rows_with_nan_padding(gates: str) -> None:
    case = make_case(2, T=130, gates=gates, lengths=[0, 1, 63, 64, 65, 127, 128, 129, 130])
    check(case)
    check(poison_padding(case, "qkv", "a", "b"))


def test_a_batch_of_empty_rows() -> None:
    case = poison_padding(make_case(3, T=5, lengths=[0, 0]), "qkv", "a", "b")
    o, new_state = run_op(GATED_DELTA_RULE, case)
    assert not o.any()
    assert_same_bits(new_state, case["state"])


@pytest.mark.parametrize("T", [1, 3, 64, 70])
def test_an_empty_row_keeps_its_state_to_the_bit(T: int) -> None:
    case = make_case(4, T=T, lengths=[0, T])
    case["state"][0, :, 0, :3] = [-0.0, 1e-42, 3e38]
    o, new_state = run_op(GATED_DELTA_RULE, poison_padding(case, "qkv", "a", "b"))
    assert not o[0].any()
    assert_same_bits(new_state[0], case["state"][0])


@pytest.mark.parametrize("T", [1, 70])
def test_a_bad_row_does_not_touch_its_neighbours(T: int) -> None:
    case = make_case(5, T=T, lengths=[T, T, T])
    clean, clean_state = run_op(GATED_DELTA_RULE, case)
    case["qkv"][1, 0] = np.nan
    o, new_state = run_op(GATED_DELTA_RULE, case)
    for row in (0, 2):
        assert_same_bits(o[row], clean[row])
        assert_same_bits(new_state[row], clean_state[row])


def test_zero_everywhere() -> None:
    case = make_case(6, T=66, lengths=[66, 30])
    for name in ("qkv", "state"):
        case[name][:] = 0.0
    check(case)


@pytest.mark.parametrize("beta_logit", [-5.0, -10.0, -14.0, -18.0, -40.0])
def test_a_faint_beta_is_accurate_for_its_size(beta_logit: float) -> None:
    # Thousands of faint writes add up in the state, so a biased small beta becomes a visible one.
    case = make_case(9, T=1)
    case["state"][:] = 0.0
    case["b"][:] = beta_logit
    check(case)


@pytest.mark.parametrize("norm_eps", [1e-6, 1e-2])
def test_norm_eps_is_an_attribute(norm_eps: float) -> None:
    check(make_case(7, T=20, keys="tiny", gates="keep and overwrite"), norm_eps=norm_eps)


@pytest.mark.parametrize("T", [1, 70])
def test_without_graph_optimizations(T: int) -> None:
    case = make_case(8, T=T, gates="mixed", lengths=[T, 0, T])
    check(poison_padding(case, "qkv", "a", "b"), optimized=False)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    keys=st.sampled_from(sorted(KEYS)),
    gates=st.sampled_from(sorted(GATES)),
    T=st.integers(1, 140),
    Hk=st.integers(1, 3),
    ratio=st.integers(1, 3),
    dims=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    data=st.data(),
)
def test_any_shape(
    seed: int,
    keys: str,
    gates: str,
    T: int,
    Hk: int,
    ratio: int,
    dims: tuple[int, int],
    data: st.DataObject,
) -> None:
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    case = make_case(
        seed, T=T, keys=keys, gates=gates, lengths=lengths, heads=(Hk, Hk * ratio), dims=dims
    )
    check(poison_padding(case, "qkv", "a", "b"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    gates=st.sampled_from(sorted(GATES)),
    T=st.integers(2, 150),
    data=st.data(),
)
def test_a_split_sequence_equals_the_whole(
    seed: int, gates: str, T: int, data: st.DataObject
) -> None:
    split = data.draw(st.integers(1, T - 1))
    case = make_case(seed, T=T, keys="SiLU-shaped", gates=gates)
    expected_o, expected_state = gated_delta_rule(**case)
    state, parts = case["state"], []
    for part in (slice(0, split), slice(split, T)):
        piece = {name: case[name][:, part] for name in ("qkv", "a", "b")}
        lengths = np.array([piece["a"].shape[1]], np.int64)
        o, state = run_op(GATED_DELTA_RULE, case | piece | {"state": state, "lengths": lengths})
        parts.append(o)
    assert_close(np.concatenate(parts, axis=1), expected_o)
    assert_close(state, expected_state, Quantity.STATE)
