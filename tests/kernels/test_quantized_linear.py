from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import QUANTIZED_LINEAR
from tests.kernels.op_runner import assert_close, assert_same_bits, run_op
from tests.kernels.quantized_cases import random_weight
from tests.oracles import Array
from tests.oracles.quantized_linear import quantized_linear

Case = dict[str, Array]
every_kind = pytest.mark.parametrize(
    ("bits", "offsets"), [(4, False), (4, True), (8, False), (8, True)]
)


def make_case(
    seed: int,
    *,
    bits: int = 4,
    offsets: bool = False,
    block: int = 32,
    B: int = 2,
    T: int = 5,
    widths: tuple[int, int] = (70, 20),
) -> Case:
    rng = np.random.default_rng(seed)
    read, given = widths
    weight, scales = random_weight(rng, given, read, bits=bits, offsets=offsets, block=block)
    x = rng.normal(size=(B, T, read)).astype(np.float32)
    return {"x": x, "weight": weight, "weight_scales": scales}


def check(case: Case, outputs: int, *, constants: tuple[str, ...] = ()) -> None:
    attributes = {"N": outputs}
    (y,) = run_op(QUANTIZED_LINEAR, case, attributes, constants=constants)
    assert_close(y, quantized_linear(**case, outputs=outputs))


@every_kind
@pytest.mark.parametrize("widths", [(1, 1), (32, 16), (33, 17), (96, 64), (1000, 33)])
@pytest.mark.parametrize("T", [1, 2, 7, 33])
def test_matches_the_oracle(T: int, widths: tuple[int, int], bits: int, offsets: bool) -> None:
    check(make_case(T, bits=bits, offsets=offsets, T=T, widths=widths), widths[1])


@every_kind
@pytest.mark.parametrize("block", [32, 64, 128, 256])
def test_blocks_of_any_size(block: int, bits: int, offsets: bool) -> None:
    for width in (block, 3 * block, 3 * block - 31):
        case = make_case(block, bits=bits, offsets=offsets, block=block, widths=(width, 20))
        check(case, 20)


@every_kind
@pytest.mark.parametrize("T", [61, 65, 1030])
def test_many_tokens(T: int, bits: int, offsets: bool) -> None:
    check(make_case(T, bits=bits, offsets=offsets, B=1, T=T, block=64, widths=(200, 33)), 33)


@every_kind
def test_a_stored_weight(bits: int, offsets: bool) -> None:
    case = make_case(1, bits=bits, offsets=offsets)
    check(case, 20, constants=("weight", "weight_scales"))


@every_kind
def test_the_largest_codes_everywhere(bits: int, offsets: bool) -> None:
    """Sums of integers are largest where every code and every activation is."""
    case = make_case(2, bits=bits, offsets=offsets, widths=(256, 16))
    for byte in (0x00, 0xFF) if bits == 4 else (0x01, 0xFF):
        case["weight"][...] = byte
        for sign in (1, -1):
            case["x"][...] = sign
            check(case, 16)


@every_kind
def test_a_bad_token_does_not_touch_the_others(bits: int, offsets: bool) -> None:
    case = make_case(3, bits=bits, offsets=offsets)
    (clean,) = run_op(QUANTIZED_LINEAR, case, {"N": 20})
    for bad in (np.nan, np.inf, -np.inf):
        case["x"][1, 2, 69] = bad
        (y,) = run_op(QUANTIZED_LINEAR, case, {"N": 20})
        good = np.ones(y.shape[:2], bool)
        good[1, 2] = False
        assert_same_bits(y[good], clean[good])
        assert np.isnan(y[1, 2]).all()


@pytest.mark.parametrize("magnitude", [0.0, 1e-44, 1e-38, 1e-31, 1e-29, 1e30])
def test_activations_of_any_magnitude(magnitude: float) -> None:
    case = make_case(4)
    case["x"] = (case["x"] * np.float32(magnitude)).astype(np.float32)
    check(case, 20)


def test_ties_go_to_the_even_code() -> None:
    case = make_case(5, widths=(32, 16))
    case["x"][...] = 0.5 + np.arange(32, dtype=np.float32)
    case["x"][..., 31] = 127
    check(case, 16)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([4, 8]),
    offsets=st.booleans(),
    block=st.sampled_from([32, 64, 128]),
    B=st.integers(1, 3),
    T=st.integers(1, 12),
    widths=st.tuples(st.integers(1, 200), st.integers(1, 40)),
)
def test_any_shape(
    seed: int, bits: int, offsets: bool, block: int, B: int, T: int, widths: tuple[int, int]
) -> None:
    case = make_case(seed, bits=bits, offsets=offsets, block=block, B=B, T=T, widths=widths)
    check(case, widths[1])
