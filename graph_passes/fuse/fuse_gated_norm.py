"""The gated delta rule with the gated norm that follows it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.rewriting import (
    new_node,
    new_value,
    producer,
    replace,
    static_dims,
    used_once,
)
from deltaport.graph_passes.silu import SiluGate, silu_gate

__all__ = ["FuseGatedNorm"]


@dataclass(frozen=True)
class _GatedNorm:
    """``Reshape(RMSNormalization(Reshape(o), norm)) * silu(z)``, first and last nodes apart."""

    rule: ir.Node
    norm: ir.Node
    gate: SiluGate
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class FuseGatedNorm(GraphPass):
    """Fuse the norm of every value head, and its gate, into the gated delta rule.

    1. ``o, s = GatedDeltaRule(qkv, a, b, ..)``, split into heads, ``RMSNormalization`` over each,
       joined again, times ``silu(z)``   becomes  ``GatedDeltaRuleNorm(qkv, z, a, b, ..)``

    Left alone where something else reads a part of it or the new state, where heads are split in
    another way than the state says, and where the norm is over other axes.
    """

    name = "fuse-gated-norm"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fuse(node)
        return ir.passes.PassResult(model, modified)

    def _try_fuse(self, node: ir.Node) -> bool:
        found = _match(node)
        if found is None:
            return False
        rule, norm = found.rule, found.norm
        qkv, a, b, a_log, dt_bias, state, lengths = rule.inputs
        outputs = [new_value("o", None, None), new_value("state", None, None)]
        fused = new_node(
            "GatedDeltaRuleNorm",
            [qkv, found.gate.z, a, b, a_log, dt_bias, norm.inputs[1], state, lengths],
            outputs,
            {
                "norm_eps": rule.attributes.get_float("norm_eps", 1e-6),
                "output_norm_eps": norm.attributes.get_float("epsilon", 1e-5),
            },
            domain=DOMAIN,
        )
        values = {node.outputs[0]: outputs[0], rule.outputs[1]: outputs[1]}
        replace(found.nodes, [fused], values, at=node)
        return True


def _match(node: ir.Node) -> _GatedNorm | None:
    gate = silu_gate(node)
    joined = None if gate is None else producer(gate.y, "Reshape")
    norm = None if joined is None else producer(joined.inputs[0], "RMSNormalization")
    split = None if norm is None else producer(norm.inputs[0], "Reshape")
    rule = None if split is None else producer(split.inputs[0], "GatedDeltaRule", DOMAIN)
    if gate is None or joined is None or norm is None or split is None or rule is None:
        return None
    nodes = (rule, split, norm, joined, *gate.nodes)
    between = [rule.outputs[0], split.outputs[0], norm.outputs[0], joined.outputs[0]]
    if not all(used_once(value) for value in between) or rule.outputs[1].uses():
        return None
    if norm.attributes.get_int("axis", -1) != -1:
        return None
    heads = static_dims(rule.inputs[5])[1:]  # state [B,Hv,Dk,Dv]
    of_heads = static_dims(split.outputs[0])[-2:]
    if len(heads) != 3 or None in heads or of_heads != (heads[0], heads[2]):
        return None
    if static_dims(norm.inputs[1]) != (heads[2],):
        return None
    if static_dims(joined.outputs[0]) != static_dims(rule.outputs[0]):
        return None
    return _GatedNorm(rule, norm, gate, nodes)
