"""Move layout changes of weights from the graph into their recipes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.recipes.layout_recipes import Squeeze
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.transposed_recipe import transposed
from deltaport.graph_passes.rewriting import constant_of, recipe_of, set_recipe, used_once

__all__ = ["FoldWeightLayout"]


@dataclass(frozen=True)
class FoldWeightLayout(GraphPass):
    """Fold a node that only rearranges a weight into the weight's recipe.

    1. ``Transpose(w)``           becomes  ``w`` with recipe ``transpose(w)``
    2. ``Squeeze(w, axes=[i])``   becomes  ``w`` with recipe ``squeeze(w)``

    A weight with other readers is left alone: they need the layout it has.
    """

    name = "fold-weight-layout"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in one sweep: nodes are in topological order, so chained ones fold one by one."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fold(model.graph, node)
        return ir.passes.PassResult(model, modified)

    def _try_fold(self, graph: ir.Graph, node: ir.Node) -> bool:
        if node.domain != "" or node.op_type not in ("Transpose", "Squeeze"):
            return False
        weight = node.inputs[0]
        stored = recipe_of(weight)
        if stored is None:
            return False
        assert weight is not None, "what has a recipe is there"
        if not used_once(weight):
            return False
        recipe = None if node.outputs[0].is_graph_output() else _rearranged(node, stored)
        if recipe is None:
            return False

        set_recipe(weight, recipe)
        ir.convenience.replace_all_uses_with(node.outputs[0], weight)
        graph.remove(node, safe=True)
        return True


def _rearranged(node: ir.Node, recipe: Recipe) -> Recipe | None:
    if node.op_type == "Transpose":
        default = tuple(reversed(range(len(recipe.shape))))
        return transposed(recipe, tuple(node.attributes.get_ints("perm", default)))
    axes = constant_of(node.inputs[1]) if len(node.inputs) == 2 else None
    if axes is None or axes.size != 1:
        return None
    axis = int(axes.reshape(())) % len(recipe.shape)
    return Squeeze(recipe, axis) if recipe.shape[axis] == 1 else None
