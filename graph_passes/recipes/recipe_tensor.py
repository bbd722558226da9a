"""A graph initializer whose value is a recipe over checkpoint tensors."""

from __future__ import annotations

from typing import NoReturn

import onnx_ir as ir

from deltaport.graph_passes.recipes.recipe import Recipe

__all__ = ["RecipeTensor"]


class RecipeTensor(ir.LazyTensor):
    """Stands where a tensor's value would; only the package writer turns it into bytes.

    Passes replace ``recipe``; asking for the value raises, because evaluating one weight of a
    400-billion-parameter model inside a pass is the mistake this class exists to prevent.
    """

    def __init__(self, recipe: Recipe, name: str) -> None:
        super().__init__(
            self._refuse,
            dtype=ir.DataType.from_numpy(recipe.dtype),
            shape=ir.Shape(recipe.shape),
            name=name,
        )
        self.recipe = recipe

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.dtype},{self.shape}>({self.recipe.describe()})"

    __str__ = __repr__

    def _refuse(self) -> NoReturn:
        raise RuntimeError(
            f"the value of {self.name} was asked for while passes run: passes rewrite recipes, "
            "they never read weights"
        )
