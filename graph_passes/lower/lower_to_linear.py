"""Products with weights by our own kernel."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.recipes.transposed_recipe import transposed
from deltaport.graph_passes.rewriting import (
    is_op,
    new_node,
    new_value,
    producer,
    recipe_of,
    replace,
    set_recipe,
    used_once,
)

__all__ = ["LowerToLinear"]


@dataclass(frozen=True)
class LowerToLinear(GraphPass):
    """Make ``Linear`` of every product with a float32 weight.

    1. ``MatMul(x, Transpose(w))``   becomes  ``Linear(x, w)``
    2. ``MatMul(x, w)``              becomes  ``Linear(x, w)``   with ``w`` turned by its recipe

    What onnxruntime's ``MatMul`` gives for a token depends on how many tokens are beside it; what
    our kernel gives does not, and it reads weights as checkpoints have them. In the second case a
    weight that others read too is left alone: they need the layout it has.
    """

    name = "lower-to-linear"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_lower(node)
        return ir.passes.PassResult(model, modified)

    def _try_lower(self, node: ir.Node) -> bool:
        if not is_op(node, "MatMul"):
            return False
        x, right = node.inputs
        turn = producer(right, "Transpose")
        weight = right if turn is None else turn.inputs[0]
        recipe = recipe_of(weight)
        if x is None or right is None or weight is None or recipe is None:
            return False
        if len(recipe.shape) != 2 or weight.dtype != ir.DataType.FLOAT:
            return False
        replaced = [node]
        if turn is None:
            if not used_once(weight):
                return False
            set_recipe(weight, transposed(recipe, (1, 0)))
        elif used_once(right):
            replaced.insert(0, turn)

        result = new_value("linear", None, None)
        linear = new_node("Linear", [x, weight], [result], domain=DOMAIN)
        replace(replaced, [linear], {node.outputs[0]: result}, at=node)
        return True
