"""``SparseMoE`` as ``MoE``, and ``SharedExpertMoE`` with the shared expert in standard ops.

``MoE`` takes router logits [B*T,E], of which it takes the softmax, and an expert's gate and up rows
in turn, the only order its CPU kernel knows. With ``activation_alpha`` 1 and ``activation_beta`` 0
its SwiGLU is silu(gate) * up. It knows no padding: every token selects experts.
"""

from __future__ import annotations

import onnx_ir as ir

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.lower.expand.shared_expert import with_shared_expert
from deltaport.graph_passes.recipes.interleave_recipe import Interleave

__all__ = ["expansion", "expansion_with_shared_expert"]

ROUTED = """
    rows = Constant<value_ints = [-1, {experts}]>()
    router_rows = Reshape(router_logits, rows)
    gate_up_wide = Cast<to = 1>(gate_up)
    down_wide = Cast<to = 1>(down)
    {y} = com.microsoft.MoE<k = {top_k}, activation_type = "swiglu", swiglu_fusion = 1,
        activation_alpha = 1.0, activation_beta = 0.0, normalize_routing_weights = 1>(
        x, router_rows, gate_up_wide, , down_wide)
"""


def expansion(call: Call) -> Expansion:
    """``SparseMoE``."""
    return _routed(call, "y")


def expansion_with_shared_expert(call: Call) -> Expansion:
    """``SharedExpertMoE``; the shared expert's weights [out,in] are transposed for ``MatMul``."""
    return with_shared_expert(call, _routed(call, "routed"), ir.DataType.FLOAT)


def _routed(call: Call, y: str) -> Expansion:
    gate_up = call.laid_out("gate_up", Interleave(call.recipe("gate_up"), 1), "interleaved")
    experts, top_k = call.size("router_logits", 2), call.number("top_k")
    return Expansion(ROUTED.format(experts=experts, top_k=top_k, y=y), {"gate_up": gate_up})
