"""Give weights the formats of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.graph_pass import GraphPass, PreconditionError
from deltaport.graph_passes.quantize.quantization_recipe import quantization_recipe
from deltaport.graph_passes.quantize.weight_tags import set_format
from deltaport.graph_passes.rewriting import recipe_of

__all__ = ["ChooseFormats"]


@dataclass(frozen=True)
class ChooseFormats(GraphPass):
    """Note with each weight the format that a recipe gives its role.

    ``recipe`` is the name of one that is shipped, or a TOML file. Roles are known by the names
    that tracing gives parameters, so this comes before passes that join weights; these join only
    what has one format. ``quantize-weights`` carries it out.
    """

    name = "choose-formats"

    recipe: str = "int8"

    def requires(self, model: ir.Model) -> None:
        """No weights are joined yet: parts of one would not be known any more."""
        for name, weight in model.graph.initializers.items():
            if "+" in name and recipe_of(weight) is not None:
                raise PreconditionError(
                    f"{self.name}: {name} is joined of several weights; choose formats before"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Look at every weight."""
        recipe, modified = quantization_recipe(self.recipe), False
        for name, weight in model.graph.initializers.items():
            format_ = recipe.format_of(name) if recipe_of(weight) is not None else None
            if format_ is not None:
                set_format(weight, format_)
                modified = True
        return ir.passes.PassResult(model, modified)
