"""Products with weights by our own kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.recipes.transposed_recipe import transposed
from deltaport.graph_passes.rewriting import (
    constant,
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

_STORED = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class LowerToLinear(GraphPass):
    """Make ``Linear`` of every product with a weight.

    1. ``MatMul(x, Transpose(w))``        becomes  ``Linear(x, w)``
    2. ``MatMul(x, w)``                   becomes  ``Linear(x, w)``, ``w`` turned by its recipe
    3. ``Gemm<transB=1>(x, w)``           becomes  ``Linear`` between ``Unsqueeze`` and ``Squeeze``
    4. ``Gemm<transB=1>(x, Cast(w))``     the same, of the half-precision ``w`` itself

    What onnxruntime's products give for a token depends on how many tokens are beside it; what our
    kernel gives does not, and it reads weights as checkpoints have them. In the second case a
    weight that others read too is left alone: they need the layout it has. ``fuse-stored-linear``
    did the products with half-precision weights that are no ``Gemm``.
    """

    name = "lower-to-linear"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_lower_matmul(node) or self._try_lower_gemm(model.graph, node)
        return ir.passes.PassResult(model, modified)

    def _try_lower_matmul(self, node: ir.Node) -> bool:
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

    def _try_lower_gemm(self, graph: ir.Graph, node: ir.Node) -> bool:
        if not is_op(node, "Gemm") or len([value for value in node.inputs if value]) != 2:
            return False
        x, right = node.inputs[:2]
        attributes = node.attributes
        if attributes.get_int("transA", 0) or not attributes.get_int("transB", 0):
            return False
        if attributes.get_float("alpha", 1.0) != 1.0 or x is None or right is None:
            return False
        cast = producer(right, "Cast")
        weight = right if cast is None else cast.inputs[0]
        recipe = recipe_of(weight)
        if weight is None or recipe is None or weight.dtype not in _STORED:
            return False
        if right.dtype != ir.DataType.FLOAT:
            return False

        axis = constant(graph, np.array([0]))
        outputs = recipe.shape[0]
        tokens, inputs = (None, None) if x.shape is None else x.shape
        rows = new_value("rows", x.dtype, (1, tokens, inputs))
        product = new_value("linear", ir.DataType.FLOAT, (1, tokens, outputs))
        result = new_value("logits", None, None)
        nodes = [
            new_node("Unsqueeze", [x, axis], [rows]),
            new_node("Linear", [rows, weight], [product], domain=DOMAIN),
            new_node("Squeeze", [product, axis], [result]),
        ]
        replaced = [node] if cast is None or not used_once(right) else [cast, node]
        replace(replaced, nodes, {node.outputs[0]: result}, at=node)
        return True
