"""Codes and scales row by row: the very weights of tiles, however they are read."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deltaport.graph_passes.quantize.code_layout import matrix_of_tiles
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.graph_passes.recipes import evaluate_recipe, quantized_recipes
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.kept_scales import keeping_scales
from deltaport.graph_passes.recipes.parse_recipe import RecipeProblem, parse_recipe
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.graph_passes.recipes.row_recipes import RowCodes, RowScales
from deltaport.weight_format import WeightFormat
from tests.passes.expansion_runner import Arrays

FORMATS = [WeightFormat(4), WeightFormat(4, 128), WeightFormat(8, 64), WeightFormat(8)]
SHAPES = [(5, 7), (40, 300), (3, 20, 130), (2, 2, 17, 33), (16, 64)]


def both(shape: tuple[int, ...], stored: WeightFormat) -> tuple[RowCodes, RowScales]:
    given = (Source("w", shape, np.dtype(np.float32)), stored.bits, stored.block, stored.numbers)
    return RowCodes(Codes(*given)), RowScales(Scales(*given))


def weights(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Among them a row of zeros, whose scales are zero."""
    array = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    array[..., 2, :] = 0
    return array


def dequantized(array: NDArray[np.float32], stored: WeightFormat) -> NDArray[np.float32]:
    """What kernels make of every matrix of ``array``; inputs are padded to whole blocks."""
    rows = array.shape[-2]
    parts = [
        matrix_of_tiles(*quantize_rows(matrix, stored))[:rows]
        for matrix in array.reshape(-1, *array.shape[-2:])
    ]
    return np.stack(parts).reshape(*array.shape[:-1], -1)


def unpacked(recipe: RowCodes, data: bytes) -> NDArray[np.int8]:
    """Codes from the bytes of a file, as ONNX packs them."""
    if recipe.dtype == np.int8:
        return np.frombuffer(data, np.int8).reshape(recipe.shape)
    pairs = np.frombuffer(data, np.uint8)
    nibbles = np.stack([pairs & 15, pairs >> 4], -1).astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles).reshape(recipe.shape)


@pytest.mark.parametrize("stored", FORMATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_bytes", [10, 1 << 9, 1 << 20])
def test_they_are_the_weights_of_tiles(
    shape: tuple[int, ...], stored: WeightFormat, max_bytes: int
) -> None:
    array, (codes, scales) = weights(shape), both(shape, stored)
    source = Arrays({"w": array})
    pieces = [bytes(piece) for piece in evaluate(codes, source, max_bytes)]
    assert max(map(len, pieces)) <= max_bytes
    blocks = -(-shape[-1] // stored.block)
    assert codes.shape == (*shape[:-1], blocks * stored.block)
    assert scales.shape == (*shape[:-1], blocks)
    wide = unpacked(codes, b"".join(pieces)).astype(np.float32)
    numbers = np.frombuffer(b"".join(evaluate(scales, source, max_bytes)), ml_dtypes.bfloat16)
    by_block = numbers.astype(np.float32).reshape(*scales.shape, 1)
    found = wide.reshape(*scales.shape, stored.block) * by_block
    np.testing.assert_array_equal(found.reshape(codes.shape), dequantized(array, stored))
    if stored.bits == 8:  # what TensorRT wants
        assert (by_block > 0).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), stored=st.sampled_from(FORMATS))
def test_any_region(data: st.DataObject, stored: WeightFormat) -> None:
    array = weights((3, 40, 300))
    for recipe in both(array.shape, stored):
        whole = recipe.read(Arrays({"w": array}), tuple((0, size) for size in recipe.shape))
        region = tuple(
            tuple(sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2))))
            for size in recipe.shape
        )
        read = recipe.read(Arrays({"w": array}), region)  # type: ignore[arg-type]
        part: NDArray[Any] = whole[tuple(slice(*bounds) for bounds in region)]
        assert (read.shape, read.dtype) == (part.shape, recipe.dtype)
        np.testing.assert_array_equal(read.astype(np.float32), part.astype(np.float32))


@pytest.mark.parametrize("stored", FORMATS, ids=str)
def test_they_are_read_as_they_are_written(stored: WeightFormat) -> None:
    for recipe in both((20, 70), stored):
        assert parse_recipe(recipe.describe()) == recipe


@pytest.mark.parametrize(
    "text",
    [
        "rowcodes(w:float32[20,64])",
        "rowcodes(scales(w:float32[20,64], bits=4, block=32, numbers=1))",
        "rowcodes(codes(w:float32[20,64], bits=4, block=32, numbers=2))",
        "rowscales(scales(w:float32[20,64], bits=4, block=32, numbers=2))",
    ],
)
def test_of_nothing_else(text: str) -> None:
    with pytest.raises(RecipeProblem, match="without offsets"):
        parse_recipe(text)


@pytest.mark.parametrize("stored", FORMATS, ids=str)
@pytest.mark.parametrize("max_bytes", [1 << 20, 1 << 10])
def test_a_weight_is_quantized_once(
    stored: WeightFormat, max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the tiles that a piece begins within."""
    quantized: list[int] = []

    def counted(values: NDArray[np.float32], stored: WeightFormat) -> Any:
        quantized.append(len(values))
        return quantize_rows(values, stored)

    monkeypatch.setattr(quantized_recipes, "quantize_rows", counted)
    array = weights((200, 300))
    recipes, starts = both(array.shape, stored), 0
    with keeping_scales():
        for recipe in recipes:
            starts += len(list(evaluate(recipe, Arrays({"w": array}), max_bytes)))
    assert sum(quantized) <= 208 + 16 * (starts - len(recipes))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is in a piece, and by what is quantized at a time."""
    monkeypatch.setattr(quantized_recipes, "_MOST_VALUES", 2 * 16 * 300)
    largest = 0

    class Largest(Arrays):
        def read(self, name: str, region: Any) -> NDArray[Any]:
            nonlocal largest
            values = super().read(name, region)
            largest = max(largest, values.size)
            return values

    array = weights((2, 100, 300))
    for recipe in both(array.shape, WeightFormat(4)):
        list(evaluate(recipe, Largest({"w": array})))
    assert largest == 2 * 16 * 300


def test_rows_of_half_bytes_are_whole_bytes() -> None:
    with pytest.raises(ValueError, match="no whole bytes"):
        list(evaluate_recipe._halves((3, 5), 100))
