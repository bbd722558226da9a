"""Scale queries where they are normalised, not every score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.recipes.arithmetic_recipes import Scale
from deltaport.graph_passes.rewriting import is_op, recipe_of, set_recipe, used_once

__all__ = ["FoldQueryScale"]

_Q_NORM = 3
"""Input of ``GatedAttention``: the scale of the query norm, [D]."""


@dataclass(frozen=True)
class FoldQueryScale(GraphPass):
    """Fold the factor on attention scores into the scale of the query norm.

    1. ``GatedAttention(.., q_norm, ..) {scale=s}``   becomes  the same with ``{scale=1}`` and
       recipe ``scale(q_norm, s)``

    The rotation between norm and scores is linear, so scores are the same; one product per query
    element takes the place of one per score. Left alone are scales that other nodes read too, that
    are no weights or not float32, and factors that are 1 already.
    """

    name = "fold-query-scale"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in one sweep."""
        modified = False
        for node in model.graph:
            modified |= self._try_fold(node)
        return ir.passes.PassResult(model, modified)

    def _try_fold(self, node: ir.Node) -> bool:
        if not is_op(node, "GatedAttention", DOMAIN):
            return False
        scale = node.attributes["scale"].as_float()
        q_norm = node.inputs[_Q_NORM]
        recipe = recipe_of(q_norm)
        if scale == 1.0 or recipe is None or recipe.dtype != np.float32:
            return False
        assert q_norm is not None, "what has a recipe is there"
        if not used_once(q_norm):
            return False

        set_recipe(q_norm, Scale(recipe, scale))
        node.attributes["scale"] = ir.AttrFloat32("scale", 1.0)
        return True
