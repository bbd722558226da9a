"""Store weights in the formats chosen for them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.quantize.quantize_experts import quantize_experts
from deltaport.graph_passes.quantize.stored_weight import stored_weight
from deltaport.graph_passes.quantize.weight_tags import format_of
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.rewriting import (
    is_op,
    new_node,
    new_value,
    producer,
    recipe_of,
    replace,
    used_once,
)

__all__ = ["QuantizeWeights"]


@dataclass(frozen=True)
class QuantizeWeights(GraphPass):
    """Make codes and scales of every weight that has a format, for the ops that read them.

    1. ``Linear(x, w)``                becomes  ``QuantizedLinear(x, codes, scales)``
    2. ``Gather(w, ids)``              becomes  ``QuantizedGather(ids, codes, scales)``
    3. ``Cast(Gather(w, ids))``        the same
    4. ``SparseMoE``                   becomes  ``QuantizedMoE``
    5. ``SharedExpertMoE``             becomes  ``QuantizedSharedExpertMoE``

    A head tied to the embedding shares its codes. ``choose-formats`` chose; a weight that another
    op reads is refused, as it would be stored twice, and so is a mixture of which only some experts
    have a format.
    """

    name = "quantize-weights"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Quantize in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= quantize_experts(model.graph, node)
        for weight in list(model.graph.initializers.values()):
            modified |= self._try_quantize(model.graph, weight)
        return ir.passes.PassResult(model, modified)

    def _try_quantize(self, graph: ir.Graph, weight: ir.Value) -> bool:
        format_, recipe = format_of(weight), recipe_of(weight)
        if format_ is None or recipe is None:
            return False
        nodes = [use.node for use in weight.uses()]
        if not nodes:  # joined into another, which has the format now
            return False
        for node in nodes:
            if not _reads_matrix(node, weight) or len(recipe.shape) != 2:
                raise PassError(
                    f"{self.name}: {weight.name} is to be {format_}, and {node.op_type} reads it, "
                    "which has no form with such weights; leave its role out of the recipe, or of "
                    "a mixture give experts and shared_expert a format both"
                )
        stored = stored_weight(graph, weight, recipe, format_)
        for node in nodes:
            _replace(node, recipe, stored)
        assert weight.name is not None, "weights have names"
        del graph.initializers[weight.name]
        return True


def _reads_matrix(node: ir.Node, weight: ir.Value) -> bool:
    if is_op(node, "Linear", DOMAIN):
        return node.inputs[1] is weight
    return (
        is_op(node, "Gather")
        and node.inputs[0] is weight
        and node.attributes.get_int("axis", 0) == 0
        and _wide(node) is not None
    )


def _wide(gather: ir.Node) -> ir.Node | None:
    """The node that gives in float32 what ``gather`` reads: itself, or a cast."""
    rows = gather.outputs[0]
    if rows.dtype == ir.DataType.FLOAT:
        return gather
    readers = [use.node for use in rows.uses()]
    if len(readers) != 1 or not used_once(rows) or producer(rows, "Gather") is None:
        return None
    cast = readers[0]
    if not is_op(cast, "Cast") or cast.attributes.get_int("to", 0) != ir.DataType.FLOAT.value:
        return None
    return cast


def _replace(node: ir.Node, recipe: Recipe, stored: list[ir.Value]) -> None:
    rows, inputs = recipe.shape
    result = new_value("quantized", None, None)
    if is_op(node, "Linear", DOMAIN):
        x = node.inputs[0]
        new = new_node("QuantizedLinear", [x, *stored], [result], {"N": rows}, domain=DOMAIN)
        replace([node], [new], {node.outputs[0]: result}, at=node)
        return
    wide = _wide(node)
    assert wide is not None, "looked at before"
    ids = node.inputs[1]
    new = new_node("QuantizedGather", [ids, *stored], [result], {"width": inputs}, domain=DOMAIN)
    old = [node] if wide is node else [node, wide]
    replace(old, [new], {wide.outputs[0]: result}, at=wide)
