from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import QUANTIZED_GATHER
from tests.kernels.op_runner import assert_same_bits, run_op
from tests.kernels.quantized_cases import random_weight
from tests.oracles.quantized_weights import unpacked


@pytest.mark.parametrize("optimized", [False, True])
def test_without_graph_optimizations_and_with(optimized: bool) -> None:
    rng = np.random.default_rng(1)
    weight, scales = random_weight(rng, 50, 70, bits=4, offsets=True, block=32)
    feeds = {"ids": np.array([[49, 0, 15, 16]]), "weight": weight, "weight_scales": scales}
    stored = ("weight", "weight_scales")
    (y,) = run_op(QUANTIZED_GATHER, feeds, {"width": 70}, constants=stored, optimized=optimized)
    # Codes times scales, and offsets added once, are exact or rounded once: the same in float32.
    expected = unpacked(weight, scales)[feeds["ids"], :70].astype(np.float32)
    assert_same_bits(y, expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([4, 8]),
    offsets=st.booleans(),
    block=st.sampled_from([32, 128]),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9)),
    table=st.tuples(st.integers(1, 60), st.integers(1, 200)),
)
def test_any_shape(
    seed: int,
    bits: int,
    offsets: bool,
    block: int,
    shape: tuple[int, int],
    table: tuple[int, int],
) -> None:
    rng = np.random.default_rng(seed)
    rows, width = table
    weight, scales = random_weight(rng, rows, width, bits=bits, offsets=offsets, block=block)
    ids = rng.integers(0, rows, shape)
    feeds = {"ids": ids, "weight": weight, "weight_scales": scales}
    (y,) = run_op(QUANTIZED_GATHER, feeds, {"width": width})
    assert_same_bits(y, unpacked(weight, scales)[ids, :width].astype(np.float32))
