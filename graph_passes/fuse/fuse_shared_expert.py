"""The routed experts with the shared expert and its gate."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.products import Product, product_of
from deltaport.graph_passes.recipes.transposed_recipe import transposed
from deltaport.graph_passes.rewriting import (
    is_op,
    new_node,
    new_value,
    producer,
    replace,
    set_recipe,
    used_once,
)

__all__ = ["FuseSharedExpert"]


@dataclass(frozen=True)
class _SharedExpert:
    """``Sigmoid(gate) * down(SwiGLU(gate_up))``; ``nodes`` are all that disappear with it."""

    gate: Product
    gate_up: Product
    down: Product
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class FuseSharedExpert(GraphPass):
    """Let one op do the routed experts and the shared one.

    1. ``SparseMoE(x, ..) + Sigmoid(x Wg) * (SwiGLU(x Wgu) Wd)``   becomes  ``SharedExpertMoE(x, ..,
       Wg, Wgu, Wd, ..)``

    with the factors and addends in any order; weights are transposed to the layout of the routed
    experts. Left alone where something else reads a part of it, where the two read different
    activations, or where the gate is not one number a token. Wants ``fuse-gate-up`` before it.
    """

    name = "fuse-shared-expert"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fuse(node)
        return ir.passes.PassResult(model, modified)

    def _try_fuse(self, node: ir.Node) -> bool:
        if not is_op(node, "Add"):
            return False
        for routed, shared in (node.inputs, reversed(node.inputs)):
            moe = producer(routed, "SparseMoE", DOMAIN)
            expert = _shared_expert(shared)
            if moe is not None and expert is not None and used_once(moe.outputs[0]):
                return _fuse(node, moe, expert)
        return False


def _fuse(add: ir.Node, moe: ir.Node, expert: _SharedExpert) -> bool:
    x, router_logits, gate_up, down, lengths = moe.inputs
    if expert.gate.x is not x or expert.gate_up.x is not x:
        return False
    weights = [product.weight for product in (expert.gate, expert.gate_up, expert.down)]
    for product in (expert.gate, expert.gate_up, expert.down):
        set_recipe(product.weight, transposed(product.recipe, (1, 0)))
    result = new_value("moe", None, None)
    fused = new_node(
        "SharedExpertMoE",
        [x, router_logits, gate_up, down, *weights, lengths],
        [result],
        {"top_k": moe.attributes["top_k"].as_int()},
        domain=DOMAIN,
    )
    replace((moe, *expert.nodes, add), [fused], {add.outputs[0]: result}, at=add)
    return True


def _shared_expert(value: ir.Value | None) -> _SharedExpert | None:
    scaled = producer(value, "Mul")
    if value is None or scaled is None or not used_once(value):
        return None
    for gate_value, down_value in (scaled.inputs, reversed(scaled.inputs)):
        sigmoid, down = producer(gate_value, "Sigmoid"), product_of(down_value)
        swiglu = None if down is None else producer(down.x, "SwiGLU", DOMAIN)
        if sigmoid is None or down is None or swiglu is None:
            continue
        gate, gate_up = product_of(sigmoid.inputs[0]), product_of(swiglu.inputs[0])
        if gate is None or gate_up is None or gate.width != 1:
            continue
        products = (gate, gate_up, down)
        between = (sigmoid.outputs[0], swiglu.outputs[0], *(each.result for each in products))
        if any(each.bias is not None for each in products) or not all(map(used_once, between)):
            continue
        nodes = (*gate.nodes, sigmoid, *gate_up.nodes, swiglu, *down.nodes, scaled)
        return _SharedExpert(*products, nodes)
    return None
