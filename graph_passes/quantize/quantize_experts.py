"""The experts of a mixture, which are quantized together."""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.quantize.stored_weight import stored_weight
from deltaport.graph_passes.quantize.weight_tags import format_of
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.rewriting import (
    is_op,
    new_node,
    new_value,
    recipe_of,
    replace,
    used_once,
)
from deltaport.weight_format import WeightFormat

__all__ = ["quantize_experts"]

_GATE_UP, _DOWN = 2, 3
_SHARED_GATE, _SHARED_GATE_UP, _SHARED_DOWN = 4, 5, 6


class _Weight(NamedTuple):
    """A weight that has a format, and that nobody else reads."""

    value: ir.Value
    recipe: Recipe
    format: WeightFormat

    @classmethod
    def of(cls, value: ir.Value | None) -> _Weight | None:
        recipe = recipe_of(value)
        if value is None or recipe is None or not used_once(value):
            return None
        format_ = format_of(value)
        return None if format_ is None else cls(value, recipe, format_)


def quantize_experts(graph: ir.Graph, node: ir.Node) -> bool:
    """Give a mixture its op with quantized experts, if all of them have a format."""
    shared = is_op(node, "SharedExpertMoE", DOMAIN)
    if not shared and not is_op(node, "SparseMoE", DOMAIN):
        return False
    experts = [_GATE_UP, _DOWN, *((_SHARED_GATE_UP, _SHARED_DOWN) if shared else ())]
    weights = {i: _Weight.of(node.inputs[i]) for i in experts}
    found = {i: weight for i, weight in weights.items() if weight is not None}
    if len(found) < len(weights):
        return False
    stored = {
        i: stored_weight(
            graph,
            weight.value,
            weight.recipe,
            weight.format,
            halves=2 if i in (_GATE_UP, _SHARED_GATE_UP) else 1,
        )
        for i, weight in found.items()
    }
    widths = {i: weight.recipe.shape[-1] for i, weight in found.items()}
    attributes = {"top_k": node.attributes.get_int("top_k"), "inner": widths[_DOWN]}
    if shared:
        attributes["shared_inner"] = widths[_SHARED_DOWN]
    op_type = "QuantizedSharedExpertMoE" if shared else "QuantizedMoE"
    inputs = [part for i, value in enumerate(node.inputs) for part in stored.get(i, [value])]
    result = new_value("quantized", None, None)
    new = new_node(op_type, inputs, [result], attributes, domain=DOMAIN)
    replace([node], [new], {node.outputs[0]: result}, at=node)
    for weight in found.values():
        del graph.initializers[str(weight.value.name)]
    return True
