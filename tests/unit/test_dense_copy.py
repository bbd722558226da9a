"""Copies in C order: the same bits as numpy's own."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from deltaport.graph_passes.recipes.dense_copy import dense


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (256, 256), (257, 513), (600, 2), (0, 5)])
def test_a_transposed_matrix(shape: tuple[int, int], dtype: Any) -> None:
    # Every bit pattern, NaN payloads included.
    itemsize = np.dtype(dtype).itemsize
    bits = np.random.default_rng(0).integers(0, 256, (*shape, itemsize), np.uint8)
    stored = bits.view(dtype).reshape(shape)
    for values in (stored.T, stored.T[:, ::2], stored.T[::2, 1:]):
        found = dense(values)
        assert found.flags.c_contiguous
        assert (found.shape, found.dtype) == (values.shape, values.dtype)
        assert found.tobytes() == values.tobytes()


def test_what_is_in_order_is_not_copied() -> None:
    for values in (np.zeros((300, 400)), np.zeros((2, 3, 4)), np.zeros(5), np.zeros((4, 1))):
        assert np.shares_memory(dense(values), values)
    scalar = np.array(1.5)
    assert dense(scalar).shape == ()


def test_other_ranks() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    for perm in [(2, 1, 0), (0, 2, 1), (1, 0, 2)]:
        found = dense(values.transpose(perm))
        assert found.flags.c_contiguous
        assert np.array_equal(found, values.transpose(perm))
