"""Recipes that compute give what NumPy gives, piece by piece, and only take what they can keep."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.arithmetic_recipes import Scale, Shift
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.layout_recipes import Slice, Transpose
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.recipes.region import Region

F32 = np.dtype(np.float32)
BY_FLOAT32 = {Shift: np.add, Scale: np.multiply}


class OneArray:
    """A checkpoint of one tensor, whatever its name."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def read(self, name: str, region: Region) -> NDArray[Any]:
        part = self.array[tuple(slice(*bounds) for bounds in region)].copy()
        part.flags.writeable = False  # a recipe must not compute in what it was given
        return part

    def release(self, name: str) -> None:
        pass


def written(recipe: Recipe, array: NDArray[Any], max_bytes: int = 1 << 20) -> NDArray[Any]:
    data = b"".join(evaluate(recipe, OneArray(array), max_bytes))
    return np.frombuffer(data, recipe.dtype).reshape(recipe.shape)


@pytest.mark.parametrize("kind", [Shift, Scale])
@given(
    by=st.floats(width=32, allow_nan=False, allow_infinity=False),
    seed=st.integers(0, 99),
    max_bytes=st.integers(4, 100),
)
def test_every_piece_is_what_numpy_computes(
    kind: type[Shift | Scale], by: float, seed: int, max_bytes: int
) -> None:
    array = np.random.default_rng(seed).normal(size=(3, 5)).astype(np.float32)
    array[0, :3] = np.nan, np.inf, -0.0
    with np.errstate(all="ignore"):
        found = written(kind(Source("w", (3, 5), F32), by), array, max_bytes)
        expected = BY_FLOAT32[kind](array, np.float32(by))
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()


def test_they_nest() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    turned = Transpose(Shift(Source("w", (3, 4), F32), 1.0), (1, 0))
    recipe = Scale(Slice(turned, 0, 1, 3), 0.5)
    assert (
        recipe.describe() == "scale(slice(transpose(shift(w:float32[3,4], 1.0), perm=(1, 0)), "
        "axis=0, start=1, stop=3), 0.5)"
    )
    assert recipe.shape == (2, 3)
    assert list(recipe.sources()) == ["w"]
    assert np.array_equal(written(recipe, array), (array + 1).T[1:3] / 2)


def test_a_stored_bfloat16_is_widened_first() -> None:
    stored = np.array([1 / 3, -0.01], ml_dtypes.bfloat16)
    recipe = Shift(Cast(Source("w", (2,), stored.dtype), F32), 1.0)
    assert np.array_equal(written(recipe, stored), stored.astype(np.float32) + np.float32(1))


@pytest.mark.parametrize("kind", [Shift, Scale])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int32])
def test_only_float32(kind: type[Shift | Scale], dtype: Any) -> None:
    name = kind.__name__.lower()
    with pytest.raises(ValueError, match=rf"^{name}: {np.dtype(dtype)} is not float32$"):
        kind(Source("w", (2,), np.dtype(dtype)), 1.0)


@pytest.mark.parametrize("kind", [Shift, Scale])
@pytest.mark.parametrize("by", [np.nan, np.inf, -np.inf, 3.5e38, -1e300])
def test_only_finite_numbers(kind: type[Shift | Scale], by: float) -> None:
    message = re.escape(f"{kind.__name__.lower()}: {by} is no finite float32")
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind(Source("w", (2,), F32), by)


def test_the_number_is_the_one_that_is_computed_with() -> None:
    weight = Source("w", (2,), F32)
    assert Scale(weight, 0.1) == Scale(weight, float(np.float32(0.1)))
    assert Scale(weight, 0.1) != Scale(weight, 0.1 + 1e-8)
    assert Shift(weight, 1.0) != Scale(weight, 1.0)
    assert Scale(weight, 3.4028234663852886e38).by == np.finfo(np.float32).max


@pytest.mark.parametrize("kind", [Shift, Scale])
def test_a_region_outside_is_refused(kind: type[Shift | Scale]) -> None:
    recipe = kind(Source("w", (2, 3), F32), 1.0)
    with pytest.raises(ValueError, match=r"not inside shape \(2, 3\)"):
        recipe.read(OneArray(np.zeros((2, 3), np.float32)), ((0, 2), (0, 4)))
