"""``SparseMoE`` as ``MoE``, and ``SharedExpertMoE`` with the shared expert in standard ops.

``MoE`` takes router logits [B*T,E], of which it takes the softmax, and an expert's gate and up rows
in turn, the only order its CPU kernel knows. With ``activation_alpha`` 1 and ``activation_beta`` 0
its SwiGLU is silu(gate) * up. It knows no padding: every token selects experts.
"""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.recipes.interleave_recipe import Interleave
from deltaport.graph_passes.recipes.transposed_recipe import transposed

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

SHARED = """
    shared_gate_up_wide = Cast<to = 1>(shared_gate_up)
    shared_both = MatMul(x, shared_gate_up_wide)
    gate, up = Split<axis = -1, num_outputs = 2>(shared_both)
    gate_sigmoid = Sigmoid(gate)
    gate_silu = Mul(gate, gate_sigmoid)
    inner = Mul(gate_silu, up)
    shared_down_wide = Cast<to = 1>(shared_down)
    shared = MatMul(inner, shared_down_wide)
    shared_gate_wide = Cast<to = 1>(shared_gate)
    share_logit = MatMul(x, shared_gate_wide)
    share = Sigmoid(share_logit)
    shared_part = Mul(shared, share)
    y = Add(routed, shared_part)
"""


def expansion(call: Call) -> Expansion:
    """``SparseMoE``."""
    return _routed(call, "y")


def expansion_with_shared_expert(call: Call) -> Expansion:
    """``SharedExpertMoE``; the shared expert's weights [out,in] are transposed for ``MatMul``."""
    routed = _routed(call, "routed")
    shared = {
        port: call.laid_out(port, transposed(call.recipe(port), (1, 0)), "transposed")
        for port in ("shared_gate", "shared_gate_up", "shared_down")
    }
    return Expansion(routed.text + SHARED, {**routed.values, **shared})


def _routed(call: Call, y: str) -> Expansion:
    gate_up = call.laid_out("gate_up", Interleave(call.recipe("gate_up"), 1), "interleaved")
    experts, top_k = call.size("router_logits", 2), call.number("top_k")
    return Expansion(ROUTED.format(experts=experts, top_k=top_k, y=y), {"gate_up": gate_up})
