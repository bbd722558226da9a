"""The shared expert of a mixture in standard ops."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["shared_expert", "with_shared_expert"]

SHARED = """
    shared_gate_up_wide = Cast<to = {dtype}>(shared_gate_up{turned})
    shared_both = {product}({x}, shared_gate_up_wide)
    gate, up = Split<axis = -1, num_outputs = 2>(shared_both)
    gate_sigmoid = Sigmoid(gate)
    gate_silu = Mul(gate, gate_sigmoid)
    inner = Mul(gate_silu, up)
    shared_down_wide = Cast<to = {dtype}>(shared_down{turned})
    shared = {product}(inner, shared_down_wide)
    shared_gate_wide = Cast<to = {dtype}>(shared_gate{turned})
    share_logit = {product}({x}, shared_gate_wide)
    share = Sigmoid(share_logit)
    shared_part = Mul(shared, share)
    {y} = Add({routed}, shared_part)
"""


def shared_expert(*, x: str, routed: str, y: str, dtype: ir.DataType) -> str:
    """``y``, the sum of ``routed`` and the shared expert's part, all [tokens,H] of ``dtype``.

    ``x`` are the tokens; the shared expert's weights [out,in] are transposed by the products.
    """
    names = {"x": x, "routed": routed, "y": y, "dtype": dtype.value}
    return SHARED.format(product="Gemm<transB = 1>", turned="", **names)


def with_shared_expert(call: Call, routed: Expansion, dtype: ir.DataType) -> Expansion:
    """``SharedExpertMoE``, given an expansion that makes ``routed`` of ``x``; all in ``dtype``.

    The shared expert's weights [out,in] are transposed for ``MatMul``.
    """
    values = dict(routed.values)
    for port in ("shared_gate", "shared_gate_up", "shared_down"):
        values |= call.turned(port)
    names = {"x": "x", "routed": "routed", "y": "y", "dtype": dtype.value}
    text = SHARED.format(product="MatMul", turned="_turned", **names)
    return Expansion(routed.text + text, values)
