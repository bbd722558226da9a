"""Layout nodes disappear into recipes; recipes give the arrays the nodes would have given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from deltaport.graph_passes.fold.fold_weight_layout import FoldWeightLayout
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.layout_recipes import Concat, Squeeze, Transpose
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.recipes.region import Region
from tests.passes.graph_text import lines, parse_graph, print_graph, weight


class Arrays:
    """A checkpoint of arrays counting upwards."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self.arrays = {
            name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            for name, shape in shapes.items()
        }

    def read(self, name: str, region: Region) -> NDArray[Any]:
        return self.arrays[name][tuple(slice(*bounds) for bounds in region)].copy()

    def release(self, name: str) -> None:
        pass


def fold(text: str, *, modified: bool = True, **shapes: tuple[int, ...]) -> ir.Model:
    return fold_recipes(
        text,
        {name: weight(name, *shape) for name, shape in shapes.items()},
        modified=modified,
    )


def fold_recipes(text: str, recipes: Mapping[str, Recipe], *, modified: bool = True) -> ir.Model:
    model = parse_graph(text, recipes)
    assert FoldWeightLayout()(model).modified is modified
    once = print_graph(model.graph)
    assert FoldWeightLayout()(model).modified is False
    assert print_graph(model.graph) == once
    return model


def value_of(model: ir.Model, name: str, **shapes: tuple[int, ...]) -> NDArray[Any]:
    tensor = model.graph.initializers[name].const_value
    assert isinstance(tensor, RecipeTensor)
    data = b"".join(evaluate(tensor.recipe, Arrays(**shapes)))
    return np.frombuffer(data, np.float32).reshape(tensor.recipe.shape)


def test_a_transpose_folds() -> None:
    model = fold(
        """g (float[B,3] x, float[4,3] w) => (float[B,4] y) {
            t = Transpose<perm = [1, 0]>(w)
            y = MatMul(x, t)
        }""",
        w=(4, 3),
    )
    assert print_graph(model.graph) == lines(
        """w [3, 4] = transpose(w:float32[4,3], perm=(1, 0))
        y = MatMul(x, w)"""
    )
    assert np.array_equal(value_of(model, "w", w=(4, 3)), np.arange(12).reshape(4, 3).T)


def test_a_transpose_without_perm_reverses_the_axes() -> None:
    model = fold(
        """g (float[4,3,2] x, float[2,3,4] w) => (float[4,3,2] y) {
            t = Transpose(w)
            y = Add(x, t)
        }""",
        w=(2, 3, 4),
    )
    assert print_graph(model.graph) == lines(
        """w [4, 3, 2] = transpose(w:float32[2,3,4], perm=(2, 1, 0))
        y = Add(x, w)"""
    )


@pytest.mark.parametrize(("axis", "index"), [(1, 1), (-2, 1)])
def test_a_squeeze_folds(axis: int, index: int) -> None:
    model = fold(
        f"""g (float[4,3] x, float[4,1,3] w) => (float[4,3] y) {{
            axes = Constant<value_ints = [{axis}]>()
            s = Squeeze(w, axes)
            y = Add(x, s)
        }}""",
        w=(4, 1, 3),
    )
    assert print_graph(model.graph) == lines(
        f"""w [4, 3] = squeeze(w:float32[4,1,3], axis={index})
        axes = Constant() value_ints=[{axis}]
        y = Add(x, w)"""
    )
    assert np.array_equal(value_of(model, "w", w=(4, 1, 3)), np.arange(12).reshape(4, 3))


def test_a_chain_folds_whole() -> None:
    model = fold(
        """g (float[2,4,3] x, float[4,1,3,2] w) => (float[2,4,3] y) {
            t = Transpose<perm = [3, 1, 0, 2]>(w)
            axes = Constant<value_ints = [1]>()
            s = Squeeze(t, axes)
            u = Transpose<perm = [0, 2, 1]>(s)
            v = Transpose<perm = [0, 2, 1]>(u)
            y = Add(x, v)
        }""",
        w=(4, 1, 3, 2),
    )
    assert print_graph(model.graph).splitlines()[1:] == [
        "axes = Constant() value_ints=[1]",
        "y = Add(x, w)",
    ]
    stored = np.arange(24).reshape(4, 1, 3, 2)
    assert np.array_equal(
        value_of(model, "w", w=(4, 1, 3, 2)), stored.transpose(3, 1, 0, 2).squeeze(1)
    )


def test_two_weights_fold_independently() -> None:
    model = fold(
        """g (float[B,3] x, float[4,3] w, float[5,4] v) => (float[B,5] y) {
            t = Transpose<perm = [1, 0]>(w)
            h = MatMul(x, t)
            u = Transpose<perm = [1, 0]>(v)
            y = MatMul(h, u)
        }""",
        w=(4, 3),
        v=(5, 4),
    )
    assert print_graph(model.graph) == lines(
        """w [3, 4] = transpose(w:float32[4,3], perm=(1, 0))
        v [4, 5] = transpose(v:float32[5,4], perm=(1, 0))
        h = MatMul(x, w)
        y = MatMul(h, v)"""
    )


TRANSPOSED = """g (float[B,3] x, {dtype}[4,3] w) => (float[B,4] y) {{
    t = Transpose<perm = [1, 0]>(w)
    y = ai.deltaport.Make(x, t)
}}"""
LEFT, RIGHT = weight("a", 1, 3), weight("b", 3, 3)
WRAPPED: dict[str, tuple[Recipe, str]] = {
    "a transposition": (
        Transpose(weight("a", 3, 4), (1, 0)),
        "a:float32[3,4]",
    ),
    "another one": (
        Squeeze(Transpose(weight("a", 4, 1, 3), (0, 1, 2)), 1),
        "transpose(squeeze(transpose(a:float32[4,1,3], perm=(0, 1, 2)), axis=1), perm=(1, 0))",
    ),
    "a cast": (
        Cast(Source("a", (4, 3), np.dtype(np.float16)), np.dtype(np.float32)),
        "cast(transpose(a:float16[4,3], perm=(1, 0)), float32)",
    ),
    "parts side by side": (
        Concat((LEFT, RIGHT), 0),
        "concat(transpose(a:float32[1,3], perm=(1, 0)), transpose(b:float32[3,3], perm=(1, 0)), "
        "axis=1)",
    ),
}


@pytest.mark.parametrize(("recipe", "expected"), WRAPPED.values(), ids=WRAPPED)
def test_a_transpose_moves_inside(recipe: Recipe, expected: str) -> None:
    model = fold_recipes(TRANSPOSED.format(dtype="float"), {"w": recipe})
    assert print_graph(model.graph) == lines(
        f"""w [3, 4] = {expected}
        y = ai.deltaport.Make(x, w)"""
    )


def test_a_transpose_that_changes_nothing_disappears() -> None:
    model = fold(
        """g (float[4,3] x, float[4,3] w) => (float[4,3] y) {
            t = Transpose<perm = [0, 1]>(w)
            y = Add(x, t)
        }""",
        w=(4, 3),
    )
    assert print_graph(model.graph) == lines(
        """w [4, 3] = w:float32[4,3]
        y = Add(x, w)"""
    )


def test_the_dtype_of_the_weight_stays() -> None:
    stored = Source("w", (4, 3), np.dtype(np.float16))
    model = fold_recipes(TRANSPOSED.format(dtype="float16"), {"w": stored})
    assert model.graph.initializers["w"].dtype == ir.DataType.FLOAT16


REFUSALS = {
    "shared weight": """g (float[3,3] x, float[3,3] w) => (float[3,3] y) {
        t = Transpose<perm = [1, 0]>(w)
        y = MatMul(w, t)
    }""",
    "captured by a subgraph": """g (bool c, float[3,3] x, float[3,3] w) => (float[3,3] y) {
        t = Transpose<perm = [1, 0]>(w)
        z = If (c) <then_branch = a () => (float[3,3] p) { p = Identity(w) },
                    else_branch = b () => (float[3,3] q) { q = Identity(x) }>
        y = MatMul(z, t)
    }""",
    "result is a graph output": """g (float[3,3] x, float[3,3] w) => (float[3,3] t) {
        t = Transpose<perm = [1, 0]>(w)
    }""",
    "weight is a graph output": """g (float[3,3] w) => (float[3,3] w, float[3,3] y) {
        t = Transpose<perm = [1, 0]>(w)
        y = Relu(t)
    }""",
    "squeeze of all axes": """g (float[3,3] x, float[3,3] w) => (float[3,3] y) {
        s = Squeeze(w)
        y = Add(x, s)
    }""",
    "axes not constant": """g (float[3,3] x, float[3,3] w, int64[1] axes) => (float[3,3] y) {
        s = Squeeze(w, axes)
        y = Add(x, s)
    }""",
    "axis not of size 1": """g (float[3,3] x, float[3,3] w) => (float[3,3] y) {
        axes = Constant<value_ints = [0]>()
        s = Squeeze(w, axes)
        y = Add(x, s)
    }""",
    "of another domain": """g (float[3,3] x, float[3,3] w) => (float[3,3] y) {
        t = ai.deltaport.Transpose<perm = [1, 0]>(w)
        y = MatMul(x, t)
    }""",
    "another op": """g (float[3,3] x, float[3,3] w) => (float[3,3] y) {
        t = Relu(w)
        y = MatMul(x, t)
    }""",
}


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    before = print_graph(parse_graph(text, {"w": weight("w", 3, 3)}).graph)
    assert print_graph(fold(text, modified=False, w=(3, 3)).graph) == before


def test_several_axes_are_left_alone() -> None:
    text = """g (float[3] x, float[1,3,1] w) => (float[3] y) {
        axes = Constant<value_ints = [0, 2]>()
        s = Squeeze(w, axes)
        y = Add(x, s)
    }"""
    fold(text, modified=False, w=(1, 3, 1))


def test_what_is_no_recipe_is_left_alone() -> None:
    text = """g (float[3,3] x) => (float[3,3] y)
        <float[3,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}> {
        t = Transpose<perm = [1, 0]>(w)
        u = Transpose<perm = [1, 0]>(x)
        y = MatMul(u, t)
    }"""
    fold(text, modified=False)
