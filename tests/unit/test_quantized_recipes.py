"""Codes and scales as recipes: any region of either is that of the whole."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.graph_passes.recipes import quantized_recipes
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.int8_recipe import AsInt8
from deltaport.graph_passes.recipes.layout_recipes import Concat
from deltaport.graph_passes.recipes.parse_recipe import parse_recipe
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe, Source, TensorSource
from deltaport.graph_passes.recipes.region import Region
from deltaport.weight_format import WeightFormat
from tests.passes.expansion_runner import Arrays

FORMATS = [WeightFormat(4), WeightFormat(4, 128, True), WeightFormat(8, 64), WeightFormat(8)]


def both(inner: Recipe, stored: WeightFormat) -> tuple[Codes, Scales]:
    given = (inner, stored.bits, stored.block, stored.numbers)
    return Codes(*given), Scales(*given)


def expected(array: NDArray[Any], stored: WeightFormat) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every matrix of ``array`` by itself."""
    wide = array.astype(np.float32).reshape(-1, *array.shape[-2:])
    parts = [quantize_rows(matrix, stored) for matrix in wide]
    outer = array.shape[:-2]
    codes, scales = (np.stack(part) for part in zip(*parts, strict=True))
    return codes.reshape(*outer, *codes.shape[1:]), scales.reshape(*outer, *scales.shape[1:])


@pytest.mark.parametrize("stored", FORMATS, ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (40, 300), (3, 20, 130), (2, 2, 17, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_whole(shape: tuple[int, ...], stored: WeightFormat, dtype: type) -> None:
    array = np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)
    found = both(Source("w", shape, np.dtype(dtype)), stored)
    for recipe, wanted in zip(found, expected(array, stored), strict=True):
        assert (recipe.shape, recipe.dtype) == (wanted.shape, wanted.dtype)
        for max_bytes in (1 << 9, 1 << 12, 1 << 20):
            data = b"".join(evaluate(recipe, Arrays({"w": array}), max_bytes))
            assert data == wanted.tobytes()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), stored=st.sampled_from(FORMATS))
def test_any_region(data: st.DataObject, stored: WeightFormat) -> None:
    array = np.random.default_rng(0).standard_normal((3, 40, 300)).astype(np.float32)
    recipes = both(Source("w", array.shape, array.dtype), stored)
    for recipe, wanted in zip(recipes, expected(array, stored), strict=True):
        region = tuple(
            tuple(sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2))))
            for size in recipe.shape
        )
        read = recipe.read(Arrays({"w": array}), region)  # type: ignore[arg-type]
        part = wanted[tuple(slice(*bounds) for bounds in region)]
        np.testing.assert_array_equal(
            read.view(np.uint8), np.ascontiguousarray(part).view(np.uint8)
        )


@pytest.mark.parametrize("stored", FORMATS, ids=str)
def test_it_is_read_as_it_is_written(stored: WeightFormat) -> None:
    for recipe in both(Source("w", (20, 70), np.dtype(np.float32)), stored):
        assert parse_recipe(recipe.describe()) == recipe


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3.4e38])
def test_weights_that_are_no_numbers_are_named(bad: float) -> None:
    first, second = np.ones((2, 16, 64), np.float32)
    second[3, 60] = bad
    source = [Source(name, first.shape, first.dtype) for name in ("first", "second")]
    for recipe in both(Concat(tuple(source), 0), WeightFormat(4)):
        with pytest.raises(CheckpointError) as raised:
            b"".join(evaluate(recipe, Arrays({"first": first, "second": second})))
        assert str(raised.value) == (
            f"tensor 'second': holds {bad:g}, which int4 block=32 has no code for; keep its role "
            "in floating point, or mend the checkpoint"
        )


@pytest.mark.parametrize(
    ("shape", "given"), [((8,), (4, 32, 1)), ((0, 4), (4, 32, 1)), ((4, 4), (5, 32, 1))]
)
def test_what_cannot_be_quantized(shape: tuple[int, ...], given: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no format of weights"):
        Codes(Source("w", shape, np.dtype(np.float32)), *given)


def test_scales_are_read_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).standard_normal((2, 100, 300)).astype(np.float32)
    recipes = both(Source("w", array.shape, array.dtype), WeightFormat(4))
    monkeypatch.setattr(quantized_recipes, "_MOST_VALUES", 2 * 16 * 300)
    for recipe, wanted in zip(recipes, expected(array, WeightFormat(4)), strict=True):
        source = LargestRead(Arrays({"w": array}))
        assert b"".join(evaluate(recipe, source)) == wanted.tobytes()
        assert source.largest == 2 * 16 * 300


class LargestRead:
    """A source that remembers how many values were read at a time, at most."""

    def __init__(self, source: TensorSource) -> None:
        self.source, self.largest = source, 0

    def read(self, name: str, region: Region) -> NDArray[Any]:
        values = self.source.read(name, region)
        self.largest = max(self.largest, values.size)
        return values

    def release(self, name: str) -> None:
        self.source.release(name)


@pytest.mark.parametrize("stored", FORMATS, ids=str)
def test_codes_as_int8_are_the_same_bytes(stored: WeightFormat) -> None:
    array = np.random.default_rng(1).standard_normal((3, 20, 130)).astype(np.float32)
    codes, _ = both(Source("w", array.shape, array.dtype), stored)
    joined = Concat((codes, codes), 1)
    signed = AsInt8(joined)
    assert (signed.shape, signed.dtype) == (joined.shape, np.dtype(np.int8))
    assert parse_recipe(signed.describe()) == signed
    source = Arrays({"w": array})
    for max_bytes in (1 << 9, 1 << 20):
        found, expected = (b"".join(evaluate(each, source, max_bytes)) for each in (signed, joined))
        assert found == expected
    with pytest.raises(ValueError, match=r"asint8: .* is not uint8"):
        AsInt8(signed)
