"""Recipes that lowering makes, against plain numpy: by whole and by any region."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.interleave_recipe import Interleave
from deltaport.graph_passes.recipes.layout_recipes import Squeeze
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.recipes.recipe_dtype import in_dtype
from deltaport.graph_passes.recipes.unsqueeze_recipe import Unsqueeze, unsqueezed
from tests.passes.expansion_runner import Arrays

F32, F16 = np.dtype(np.float32), np.dtype(np.float16)
BF16 = np.dtype(ml_dtypes.bfloat16)


def counting(*shape: int, dtype: np.dtype[Any] = F32) -> tuple[Source, NDArray[Any]]:
    """A checkpoint tensor whose elements are all different, and its value."""
    return Source("w", shape, dtype), np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def check(recipe: Recipe, array: NDArray[Any], expected: NDArray[Any]) -> None:
    assert (recipe.shape, recipe.dtype) == (expected.shape, expected.dtype)
    for max_bytes in (1, 8, 20, 1 << 20):
        data = b"".join(evaluate(recipe, Arrays({"w": array}), max_bytes))
        assert data == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_interleave(axis: int) -> None:
    source, array = counting(6, 4, 10)
    first, second = np.split(array, 2, axis)
    expected = np.empty_like(array)
    np.moveaxis(expected, axis, 0)[0::2] = np.moveaxis(first, axis, 0)
    np.moveaxis(expected, axis, 0)[1::2] = np.moveaxis(second, axis, 0)
    check(Interleave(source, axis), array, expected)


@given(st.data())
def test_any_region_of_interleaved_rows(data: st.DataObject) -> None:
    half = data.draw(st.integers(0, 5))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, 2 * half)] * 2)))
    source, array = counting(2, 2 * half, 3)
    read = Interleave(source, 1).read(Arrays({"w": array}), ((0, 2), (start, stop), (1, 3)))
    expected = [array[:, i // 2 + half * (i % 2), 1:] for i in range(start, stop)]
    assert read.shape == (2, stop - start, 2)
    assert np.array_equal(read, np.stack(expected, 1) if expected else read)


def test_interleave_reads_no_more_than_it_gives() -> None:
    class Counting(Arrays):
        elements = 0

        def read(self, name: str, region: Any) -> NDArray[Any]:
            values = super().read(name, region)
            self.elements += values.size
            return values

    source, array = counting(4, 8, 5)
    tensors = Counting({"w": array})
    Interleave(source, 1).read(tensors, ((1, 3), (3, 6), (0, 5)))
    assert tensors.elements == 2 * 3 * 5


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), 0), ((4,), 1), ((4,), -1), ((), 0)])
def test_interleave_wants_two_halves(shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises(ValueError, match=r"interleave: .* no two halves"):
        Interleave(Source("w", shape, F32), axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_unsqueeze(axis: int) -> None:
    source, array = counting(3, 4, dtype=BF16)
    check(Unsqueeze(source, axis), array, np.expand_dims(array, axis))


def test_unsqueeze_of_an_empty_region() -> None:
    source, array = counting(3, 4)
    read = Unsqueeze(source, 1).read(Arrays({"w": array}), ((0, 3), (0, 0), (0, 4)))
    assert read.shape == (3, 0, 4)


@pytest.mark.parametrize("axis", [-1, 3])
def test_unsqueeze_wants_a_place(axis: int) -> None:
    with pytest.raises(ValueError, match=f"unsqueeze: axis {axis} has no place"):
        Unsqueeze(Source("w", (3, 4), F32), axis)


def test_a_squeeze_is_undone() -> None:
    source = Source("w", (3, 1, 1), F32)
    assert unsqueezed(Squeeze(source, 1), 1) == source
    assert unsqueezed(Squeeze(source, 1), 0) == Unsqueeze(Squeeze(source, 1), 0)
    assert unsqueezed(source, 1) == Unsqueeze(source, 1)


def test_a_change_of_dtype_piles_no_casts_up() -> None:
    source = Source("w", (3,), BF16)
    assert in_dtype(source, BF16) == source
    assert in_dtype(source, F32) == Cast(source, F32)
    assert in_dtype(Cast(source, F32), BF16) == source
    assert in_dtype(Cast(source, F32), F16) == Cast(source, F16)
    narrow = Cast(Source("w", (3,), F32), F16)
    assert in_dtype(narrow, F32) == Cast(narrow, F32)
