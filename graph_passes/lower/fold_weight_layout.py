"""Move layout changes of weights from the graph into their recipes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deltaport.graph_passes.recipes.layout_recipes import Squeeze, Transpose
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor

__all__ = ["FoldWeightLayout"]


class FoldWeightLayout(ir.passes.InPlacePass):
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
        if weight is None or not isinstance(weight.const_value, RecipeTensor):
            return False
        if len(weight.uses()) > 1 or weight.is_graph_output() or node.outputs[0].is_graph_output():
            return False
        recipe = _rearranged(node, weight.const_value.recipe)
        if recipe is None:
            return False

        assert weight.name is not None
        weight.const_value = RecipeTensor(recipe, weight.name)
        weight.shape = ir.Shape(recipe.shape)
        ir.convenience.replace_all_uses_with(node.outputs[0], weight)
        graph.remove(node, safe=True)
        return True


def _rearranged(node: ir.Node, recipe: Recipe) -> Recipe | None:
    if node.op_type == "Transpose":
        default = tuple(reversed(range(len(recipe.shape))))
        return Transpose(recipe, tuple(node.attributes.get_ints("perm", default)))
    axes_input = node.inputs[1] if len(node.inputs) == 2 else None
    axes = None if axes_input is None else ir.convenience.get_const_tensor(axes_input)
    if axes is None or axes.size != 1:
        return None
    axis = int(np.asarray(axes.numpy()).reshape(())) % len(recipe.shape)
    return Squeeze(recipe, axis) if recipe.shape[axis] == 1 else None
