"""Products with weights that are stored narrower than they are computed with."""

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

__all__ = ["FuseStoredLinear"]

_NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class FuseStoredLinear(GraphPass):
    """Let the op that multiplies read the weight as it is stored.

    1. ``MatMul(x, Cast(w))``   becomes  ``Linear(x, w)``   for float32 x and half-precision w,
       with ``w`` turned by its recipe: ``Linear`` reads one row for each output

    so that a kernel needs no wider copy of the weight. Left alone are weights that are no matrix,
    and those that others read too, themselves or their cast.
    """

    name = "fuse-stored-linear"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fuse(node)
        return ir.passes.PassResult(model, modified)

    def _try_fuse(self, node: ir.Node) -> bool:
        if not is_op(node, "MatMul"):
            return False
        x, wide = node.inputs
        cast = producer(wide, "Cast")
        if x is None or wide is None or cast is None:
            return False
        weight = cast.inputs[0]
        recipe = recipe_of(weight)
        if weight is None or recipe is None or len(recipe.shape) != 2:
            return False
        if weight.dtype not in _NARROW or wide.dtype != ir.DataType.FLOAT:
            return False
        if not used_once(wide) or not used_once(weight):
            return False

        set_recipe(weight, transposed(recipe, (1, 0)))
        result = new_value("linear", None, None)
        linear = new_node("Linear", [x, weight], [result], domain=DOMAIN)
        replace((cast, node), [linear], {node.outputs[0]: result}, at=node)
        return True
