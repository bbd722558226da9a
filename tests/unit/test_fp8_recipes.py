"""Weights in fp8: the nearest codes for exact scales, however they are read."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.graph_passes.quantize.fp8_rows import fp8_codes, fp8_scales
from deltaport.graph_passes.recipes import fp8_recipes
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.fp8_recipes import Fp8Codes, Fp8Scales
from deltaport.graph_passes.recipes.parse_recipe import RecipeProblem, parse_recipe
from deltaport.graph_passes.recipes.recipe import Source
from tests.oracles.fp8_weights import fp8_rounded
from tests.passes.expansion_runner import Arrays

LARGEST = float(np.float32(3e38))


def weights(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Among them a row of zeros."""
    array = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    array[..., 1, :] = 0
    return array


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.floats(-LARGEST, LARGEST, width=32),
            st.floats(-1, 1, width=32),
            st.integers(-3600, 3600).map(lambda n: n / 128),  # halfway, often
        ),
        min_size=1,
        max_size=12,
    )
)
def test_codes_are_the_nearest(row: list[float]) -> None:
    matrix = np.array([row], np.float32)
    scales = fp8_scales(matrix)
    found = fp8_codes(matrix, scales).astype(np.float64) * scales.astype(np.float64)
    np.testing.assert_array_equal(found, fp8_rounded(matrix))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(0, LARGEST, width=32))
def test_the_scale_is_the_least_power_of_two(largest: float) -> None:
    (scale,) = map(float, fp8_scales(np.array([[-largest, 0]], np.float32)))
    assert math.frexp(scale)[0] == 0.5
    assert float(ml_dtypes.bfloat16(scale)) == scale
    assert largest <= 448 * scale
    assert largest > 448 * scale / 2 or scale == 2.0**-126 or largest == 0


@pytest.mark.parametrize("shape", [(5, 7), (3, 20, 130), (2, 2, 17, 33)])
@pytest.mark.parametrize("max_bytes", [10, 1 << 9, 1 << 20])
@pytest.mark.parametrize("values", [40, 1 << 22])
def test_every_row_has_its_scale(
    shape: tuple[int, ...], max_bytes: int, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fp8_recipes, "_MOST_VALUES", values)
    array, source = weights(shape), Source("w", shape, np.dtype(np.float32))
    codes, scales = Fp8Codes(source), Fp8Scales(source)
    found: list[NDArray[Any]] = []
    for recipe in (codes, scales):
        pieces = [bytes(piece) for piece in evaluate(recipe, Arrays({"w": array}), max_bytes)]
        assert max(map(len, pieces)) <= max_bytes
        found.append(np.frombuffer(b"".join(pieces), recipe.dtype).reshape(recipe.shape))
    assert (codes.shape, scales.shape) == (shape, shape[:-1])
    matrix = array.reshape(-1, shape[-1])
    expected = fp8_scales(matrix)
    np.testing.assert_array_equal(found[1].reshape(-1).astype(np.float32), expected)
    wide = found[0].astype(np.float32).reshape(matrix.shape)
    np.testing.assert_array_equal(wide, fp8_codes(matrix, expected).astype(np.float32))
    product = wide * expected[:, np.newaxis]
    np.testing.assert_array_equal(product, product.astype(ml_dtypes.bfloat16).astype(np.float32))
    # Three bits behind the point, and for the smallest values a step of the smallest code.
    error = np.abs(product - matrix)
    assert (error <= np.maximum(np.abs(matrix) / 16, expected[:, np.newaxis] * 2**-10)).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_region(data: st.DataObject) -> None:
    array, source = weights((3, 20, 70)), Source("w", (3, 20, 70), np.dtype(np.float32))
    for recipe in (Fp8Codes(source), Fp8Scales(source)):
        whole = recipe.read(Arrays({"w": array}), tuple((0, size) for size in recipe.shape))
        region = tuple(
            tuple(sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2))))
            for size in recipe.shape
        )
        read = recipe.read(Arrays({"w": array}), region)  # type: ignore[arg-type]
        part: NDArray[Any] = whole[tuple(slice(*bounds) for bounds in region)]
        assert (read.shape, read.dtype) == (part.shape, recipe.dtype)
        np.testing.assert_array_equal(read.astype(np.float32), part.astype(np.float32))


def test_they_are_read_as_they_are_written() -> None:
    source = Source("w", (20, 70), np.dtype(ml_dtypes.bfloat16))
    for recipe in (Fp8Codes(source), Fp8Scales(source)):
        assert parse_recipe(recipe.describe()) == recipe


@pytest.mark.parametrize("text", ["fp8codes(w:float32[20])", "fp8scales(w:float32[0,20])"])
def test_of_no_matrix(text: str) -> None:
    with pytest.raises(RecipeProblem, match="no matrix"):
        parse_recipe(text)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 3.4e38])
def test_a_value_without_a_code_is_refused_by_name(value: float) -> None:
    array = weights((3, 5, 8))
    array[2, 4, 3] = value
    for recipe in (Fp8Codes, Fp8Scales):
        whole = recipe(Source("w", array.shape, np.dtype(np.float32)))
        with pytest.raises(CheckpointError, match=r"tensor 'w': holds .*, which fp8 has no code"):
            whole.read(Arrays({"w": array}), tuple((0, size) for size in whole.shape))
