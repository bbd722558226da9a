"""The shared expert of a mixture in standard ops."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.recipes.transposed_recipe import transposed

__all__ = ["with_shared_expert"]

SHARED = """
    shared_gate_up_wide = Cast<to = {dtype}>(shared_gate_up)
    shared_both = MatMul(x, shared_gate_up_wide)
    gate, up = Split<axis = -1, num_outputs = 2>(shared_both)
    gate_sigmoid = Sigmoid(gate)
    gate_silu = Mul(gate, gate_sigmoid)
    inner = Mul(gate_silu, up)
    shared_down_wide = Cast<to = {dtype}>(shared_down)
    shared = MatMul(inner, shared_down_wide)
    shared_gate_wide = Cast<to = {dtype}>(shared_gate)
    share_logit = MatMul(x, shared_gate_wide)
    share = Sigmoid(share_logit)
    shared_part = Mul(shared, share)
    y = Add(routed, shared_part)
"""


def with_shared_expert(call: Call, routed: Expansion, dtype: ir.DataType) -> Expansion:
    """``SharedExpertMoE``, given an expansion that makes ``routed`` of ``x``; all in ``dtype``.

    The shared expert's weights [out,in] are transposed for ``MatMul``.
    """
    weights = {
        port: call.laid_out(port, transposed(call.recipe(port), (1, 0)), "transposed")
        for port in ("shared_gate", "shared_gate_up", "shared_down")
    }
    text = routed.text + SHARED.format(dtype=dtype.value)
    return Expansion(text, {**routed.values, **weights})
