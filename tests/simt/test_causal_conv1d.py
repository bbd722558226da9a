from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding, poison_padding
from tests.kernels.test_causal_conv1d import Case, make_case
from tests.oracles import Array
from tests.oracles.causal_conv1d import causal_conv1d
from tests.simt.any_order import in_any_order
from tools.gpu_kernels.arguments import Convolution
from tools.gpu_kernels.driver import CudaError
from tools.gpu_kernels.kernel_library import KernelLibrary


def run(
    kernels: KernelLibrary, case: Case, *, dtype: str = "float32", in_place: bool = False
) -> tuple[Array, Array]:
    """``y`` and the new state; all is stored as ``dtype`` and widened again."""
    stored = np.dtype(dtype)
    narrow = {name: case[name].astype(stored) for name in ("x", "weight", "state")}
    y, new_state = in_any_order(kernels, lambda: convolve(kernels, {**case, **narrow}, in_place))
    return y.astype(np.float32), new_state.astype(np.float32)


def convolve(kernels: KernelLibrary, case: Case, in_place: bool = False) -> tuple[Array, Array]:
    """The same as it is stored."""
    rows, tokens, channels = case["x"].shape
    y, state = np.full_like(case["x"], np.nan), case["state"].copy()
    new_state = state if in_place else np.full_like(state, np.nan)
    with kernels.lend() as memory:
        inputs = {name: memory.reads(array) for name, array in (case | {"state": state}).items()}
        arguments = Convolution(
            rows=rows,
            tokens=tokens,
            channels=channels,
            taps=case["weight"].shape[1],
            y=memory.writes(y),
            new_state=memory.writes(new_state),
            **inputs,
        )
        kernels.run(f"causal_conv1d_{y.dtype.name}", arguments)
    return y, new_state


def check(kernels: KernelLibrary, case: Case) -> None:
    y, new_state = run(kernels, case)
    expected_y, expected_state = causal_conv1d(**case)
    assert_close(y, expected_y)
    assert not y[is_padding(y.shape[1], case["lengths"])].any()
    assert_same_bits(new_state, expected_state.astype(np.float32))
    y_in_place, state = run(kernels, case, in_place=True)
    assert_same_bits(y_in_place, y)
    assert_same_bits(state, new_state)


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("T", [1, 2, 3, 63, 64, 65, 130])
def test_matches_the_oracle(kernels: KernelLibrary, T: int, K: int) -> None:
    lengths = sorted({0, 1, 2, T - 1, T})
    case = make_case(T, T=T, K=K, C=130, lengths=[n for n in lengths if n <= T])
    check(kernels, poison_padding(case, "x"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_two_bytes(kernels: KernelLibrary, dtype: str) -> None:
    stored = np.dtype(dtype)
    case = make_case(1, T=70, C=9, lengths=[70, 3, 2, 1, 0])
    floats = ("x", "weight", "state")
    case |= {name: case[name].astype(stored).astype(np.float32) for name in floats}
    exact, exact_state = run(kernels, case)
    for in_place in (False, True):
        y, new_state = run(kernels, case, dtype=dtype, in_place=in_place)
        assert_same_bits(y, exact.astype(stored).astype(np.float32))
        assert_same_bits(new_state, exact_state)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_state_is_the_very_bits_of_inputs(kernels: KernelLibrary, dtype: str) -> None:
    """Those of every number there is, NaN with whatever else its bits say."""
    numbers = np.arange(1 << 16, dtype=np.uint16).reshape(1, 1, -1).view(dtype)
    case = {
        "x": numbers,
        "weight": np.zeros((numbers.size, 2), dtype),
        "state": np.zeros_like(numbers),
        "lengths": np.array([1]),
    }
    _, new_state = convolve(kernels, case)
    assert (new_state.view(np.uint16) == numbers.view(np.uint16)).all()


def test_lengths_that_cannot_be_are_the_nearest_that_can(kernels: KernelLibrary) -> None:
    """A kernel is timed with inputs that are made up."""
    case = make_case(2, T=70, C=9, lengths=[70, 0, 70])
    wild = case | {"lengths": np.array([71, -1, 2**63 - 1])}
    for found, expected in zip(run(kernels, wild), run(kernels, case), strict=True):
        assert_same_bits(found, expected)


@pytest.mark.parametrize("K", [2, 4])
def test_no_tokens_keep_the_state(kernels: KernelLibrary, K: int) -> None:
    case = make_case(3, T=0, K=K, C=130, lengths=[0, 0])
    _, new_state = run(kernels, case)
    assert_same_bits(new_state, case["state"])


@pytest.mark.parametrize("K", [1, 5, 9])
def test_other_numbers_of_taps_are_refused(kernels: KernelLibrary, K: int) -> None:
    with pytest.raises(CudaError, match="invalid argument"):
        kernels.run("causal_conv1d_float32", Convolution(rows=1, tokens=1, channels=1, taps=K))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_shape(kernels: KernelLibrary, data: st.DataObject) -> None:
    T = data.draw(st.integers(1, 140))
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    K, C = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 140))
    check(kernels, poison_padding(make_case(T, T=T, K=K, C=C, lengths=lengths), "x"))
