"""``SparseMoE`` and ``SharedExpertMoE`` in standard ops: a loop over the experts somebody chose.

TensorRT has no op whose work depends on how many tokens an expert got, so an expert computes all
tokens, and counts for nothing with those that did not choose it. As much is read as must be, which
is what decode waits for; prefill computes E / top_k times as much as it must: what our plugin is
for. The loop ends, by its condition, when the chosen experts do. It knows no padding: every token
selects experts.
"""

from __future__ import annotations

import numpy as np

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.lower.expand.shared_expert import with_shared_expert
from deltaport.graph_passes.rewriting import constant

__all__ = ["expansion", "expansion_with_shared_expert"]

# An expert's key in the order of the loop is its number off E, and 0 for those nobody chose: they
# come last. TopK is the only op that sorts.
ROUTED = """
    f_zero = Constant<value_float = 0.0>()
    f_one = Constant<value_float = 1.0>()
    one = Constant<value_int = 1>()
    axis_0 = Constant<value_ints = [0]>()
    axis_1 = Constant<value_ints = [1]>()
    count = Constant<value_ints = [{top_k}]>()
    all_experts = Constant<value_ints = [{experts}]>()
    x_rows = Constant<value_ints = [-1, {hidden}]>()
    logit_rows = Constant<value_ints = [-1, {experts}]>()
    tokens = Reshape(x, x_rows)
    logits_stored = Reshape(router_logits, logit_rows)
    logits = Cast<to = 1>(logits_stored)
    p = Softmax<axis = -1>(logits)
    p_chosen, chosen = TopK<axis = -1>(p, count)
    p_sum = ReduceSum(p_chosen, axis_1)
    w = Div(p_chosen, p_sum)
    p_shape = Shape(p)
    no_weight = Expand(f_zero, p_shape)
    weights = ScatterElements<axis = 1>(no_weight, chosen, w)
    w_shape = Shape(w)
    w_ones = Expand(f_one, w_shape)
    hits = ScatterElements<axis = 1>(no_weight, chosen, w_ones)
    is_used = ReduceMax<keepdims = 0>(hits, axis_0)
    keys = Mul(is_used, countdown)
    sorted_keys, order = TopK<axis = -1>(keys, all_experts)
    used = ReduceSum<keepdims = 0>(is_used)
    n_used = Cast<to = 7>(used)
    trips = Constant<value_int = {experts}>()
    always = Constant<value = bool {{1}}>()
    tokens_shape = Shape(tokens)
    nothing = Expand(f_zero, tokens_shape)
    combined = Loop(trips, always, nothing) <body = one_expert
        (int64 i, bool go, float[n, h] acc) => (bool go_on, float[n, h] acc_next)
    {{
        next_i = Add(i, one)
        go_on = Less(next_i, n_used)
        expert = Gather<axis = 0>(order, i)
        gate_up_stored = Gather<axis = 0>(gate_up, expert)
        gate_up_e = Cast<to = {dtype}>(gate_up_stored)
        gate_up_t = Transpose<perm = [1, 0]>(gate_up_e)
        both = MatMul(tokens, gate_up_t)
        gate, up = Split<axis = 1, num_outputs = 2>(both)
        gate_sigmoid = Sigmoid(gate)
        gate_silu = Mul(gate, gate_sigmoid)
        inner = Mul(gate_silu, up)
        down_stored = Gather<axis = 0>(down, expert)
        down_e = Cast<to = {dtype}>(down_stored)
        down_t = Transpose<perm = [1, 0]>(down_e)
        out = MatMul(inner, down_t)
        out_wide = Cast<to = 1>(out)
        weight = Gather<axis = 1>(weights, expert)
        weight_column = Unsqueeze(weight, axis_1)
        weighted = Mul(out_wide, weight_column)
        acc_next = Add(acc, weighted)
    }}>
    combined_narrow = Cast<to = {dtype}>(combined)
    x_shape = Shape(x)
    {y} = Reshape(combined_narrow, x_shape)
"""


def expansion(call: Call) -> Expansion:
    """``SparseMoE``."""
    return _routed(call, "y")


def expansion_with_shared_expert(call: Call) -> Expansion:
    """``SharedExpertMoE``."""
    return with_shared_expert(call, _routed(call, "routed"), call["x"].dtype)


def _routed(call: Call, y: str) -> Expansion:
    experts, graph = call.size("router_logits", 2), call.node.graph
    assert graph is not None, "passes rewrite nodes that are in a graph"
    text = ROUTED.format(
        experts=experts,
        hidden=call.size("x", 2),
        top_k=call.number("top_k"),
        dtype=call["x"].dtype.value,
        y=y,
    )
    countdown = np.arange(experts, 0, -1, dtype=np.float32)
    return Expansion(text, {"countdown": constant(graph, countdown)})
