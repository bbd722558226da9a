"""Store the scale a norm applies, not the offset checkpoints store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.recipes.arithmetic_recipes import Shift
from deltaport.graph_passes.rewriting import constant_of, is_op, recipe_of, set_recipe, used_once

__all__ = ["FoldNormOffset"]


@dataclass(frozen=True)
class FoldNormOffset(GraphPass):
    """Fold the constant that is added to a weight into the weight's recipe.

    1. ``Add(w, c)`` or ``Add(c, w)``   becomes  ``w`` with recipe ``shift(w, c)``

    Checkpoints store w where a zero-centred norm scales by 1 + w. Left alone are weights that
    others read too, weights that are not float32, results that are graph outputs, and constants
    that are not a single finite number.
    """

    name = "fold-norm-offset"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fold(model.graph, node)
        return ir.passes.PassResult(model, modified)

    def _try_fold(self, graph: ir.Graph, node: ir.Node) -> bool:
        if not is_op(node, "Add") or node.outputs[0].is_graph_output():
            return False
        first, second = node.inputs
        weight, other = (first, second) if recipe_of(first) is not None else (second, first)
        recipe, offset = recipe_of(weight), constant_of(other)
        if recipe is None or offset is None:
            return False
        assert weight is not None, "what has a recipe is there"
        if not used_once(weight):
            return False
        if recipe.dtype != np.float32 or offset.size != 1 or offset.ndim > len(recipe.shape):
            return False
        by = float(offset.reshape(()))
        if not np.isfinite(by):
            return False

        set_recipe(weight, Shift(recipe, by))
        ir.convenience.replace_all_uses_with(node.outputs[0], weight)
        graph.remove(node, safe=True)
        return True
