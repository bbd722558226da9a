"""The shared expert of a mixture in standard ops."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["with_shared_expert"]

SHARED = """
    {turns}
    shared_gate_up_wide = Cast<to = {dtype}>(shared_gate_up_turned)
    shared_both = MatMul(x, shared_gate_up_wide)
    gate, up = Split<axis = -1, num_outputs = 2>(shared_both)
    gate_sigmoid = Sigmoid(gate)
    gate_silu = Mul(gate, gate_sigmoid)
    inner = Mul(gate_silu, up)
    shared_down_wide = Cast<to = {dtype}>(shared_down_turned)
    shared = MatMul(inner, shared_down_wide)
    shared_gate_wide = Cast<to = {dtype}>(shared_gate_turned)
    share_logit = MatMul(x, shared_gate_wide)
    share = Sigmoid(share_logit)
    shared_part = Mul(shared, share)
    y = Add(routed, shared_part)
"""


def with_shared_expert(call: Call, routed: Expansion, dtype: ir.DataType) -> Expansion:
    """``SharedExpertMoE``, given an expansion that makes ``routed`` of ``x``; all in ``dtype``.

    The shared expert's weights [out,in] are transposed for ``MatMul``.
    """
    turned = [call.turned(port) for port in ("shared_gate", "shared_gate_up", "shared_down")]
    turns = "".join(turn for turn, _ in turned)
    text = routed.text + SHARED.format(dtype=dtype.value, turns=turns)
    weights = {name: value for _, values in turned for name, value in values.items()}
    return Expansion(text, {**routed.values, **weights})
