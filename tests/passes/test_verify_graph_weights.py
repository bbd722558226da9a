"""Weights that do not agree with their recipes are found."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from deltaport.graph_passes.recipes.arithmetic_recipes import Shift
from deltaport.graph_passes.recipes.layout_recipes import Concat
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from tests.passes.graph_text import weight
from tests.passes.sound_graph import Edit, fault_of, parsed


def recipe_of(model: ir.Model, name: str = "w") -> RecipeTensor:
    tensor = model.graph.initializers[name].const_value
    assert isinstance(tensor, RecipeTensor)
    return tensor


def another_name(model: ir.Model) -> None:
    recipe_of(model).name = "other"


def another_dtype(model: ir.Model) -> None:
    model.graph.initializers["w"].dtype = ir.DataType.FLOAT16


def another_tensor_dtype(model: ir.Model) -> None:
    recipe_of(model)._dtype = ir.DataType.FLOAT16


def another_shape(model: ir.Model) -> None:
    model.graph.initializers["w"].shape = ir.Shape([6, 8])


def no_shape(model: ir.Model) -> None:
    model.graph.initializers["w"].shape = None


def another_tensor_shape(model: ir.Model) -> None:
    recipe_of(model)._shape = ir.Shape([6, 8])


def parts_that_do_not_fit(model: ir.Model) -> None:
    recipe = Concat((weight("a", 3, 6), weight("b", 5, 6)), 0)
    object.__setattr__(recipe, "axis", 1)
    recipe_of(model).recipe = recipe


def a_part_that_lies(model: ir.Model) -> None:
    recipe = Shift(Shift(weight("a", 8, 6), 1.0), 1.0)
    object.__setattr__(recipe.inner, "shape", (6, 8))
    recipe_of(model).recipe = recipe


def the_whole_lies(model: ir.Model) -> None:
    recipe = Shift(weight("a", 6, 8), 1.0)
    object.__setattr__(recipe, "shape", (8, 6))
    recipe_of(model).recipe = recipe


WEIGHT_FAULTS = {
    "name": (
        another_name,
        "weight w: name of the recipe is other, the graph says w",
    ),
    "dtype": (
        another_dtype,
        "weight w: dtype of the recipe is FLOAT, the graph says FLOAT16",
    ),
    "tensor dtype": (
        another_tensor_dtype,
        "weight w: tensor dtype of the recipe is FLOAT16, the graph says FLOAT",
    ),
    "shape": (
        another_shape,
        "weight w: shape of the recipe is (8, 6), the graph says (6, 8)",
    ),
    "no shape": (
        no_shape,
        "weight w: shape of the recipe is (8, 6), the graph says None",
    ),
    "tensor shape": (
        another_tensor_shape,
        "weight w: tensor shape of the recipe is (6, 8), the graph says (8, 6)",
    ),
    "parts that do not fit": (
        parts_that_do_not_fit,
        "weight w: recipe is not well-typed: ",
    ),
    "a part that lies": (
        a_part_that_lies,
        "weight w: recipe ",
    ),
    "the whole lies": (
        the_whole_lies,
        "weight w: recipe shift(a:float32[6,8], 1.0) is not what its fields make",
    ),
}


@pytest.mark.parametrize(("edit", "message"), WEIGHT_FAULTS.values(), ids=WEIGHT_FAULTS)
def test_weights(edit: Edit, message: str) -> None:
    model = parsed()
    edit(model)
    assert fault_of(model).startswith(message)
