"""``GatedDeltaRule`` as ``LinearAttention``; ``GatedDeltaRuleNorm`` with ``GatedRMSNorm`` after it.

``LinearAttention`` with rule ``gated_delta`` takes queries and keys [B,T,Hk*Dk], values
[B,T,Hv*Dv], the state [B,Hv,Dk,Dv], log decays and write strengths [B,T,Hv]; value head h reads key
head h // (Hv/Hk) as ours does, so no key is repeated. It knows no padding: every row must have T
tokens. Its CUDA kernels read the state in the dtype of the activations, so a float32 state means
float32 activations. On CPU one buffer for both states gives the same (tried with onnxruntime 1.31
and 1.32); nothing promises so for CUDA, so the state needs two.

The gates are spelled out as in the body of our op. ``LinearAttentionGate`` would be one node, but
on CPU it takes decay logits below -17 for no decay, and its write strength is 7% off at -14.
"""

from __future__ import annotations

import numpy as np

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.rewriting import constant

__all__ = ["expansion", "expansion_with_norm"]

# l2norm(x) = x / sqrt(sum(x^2) + eps) is an RMS norm of epsilon eps / Dk with scale Dk^-0.5. One
# serves queries and keys: they lie side by side.
RULE = """
    packed = Constant<value_ints = [{both_key_dims}, {value_dim}]>()
    heads = Constant<value_ints = [0, 0, {both_key_heads}, {key_head_dim}]>()
    flat = Constant<value_ints = [0, 0, {both_key_dims}]>()
    qk, v = Split<axis = 2>(qkv, packed)
    qk_heads = Reshape(qk, heads)
    qk_normed = RMSNormalization<axis = -1, epsilon = {l2_eps}>(qk_heads, unit_length)
    qk_flat = Reshape(qk_normed, flat)
    q, k = Split<axis = 2, num_outputs = 2>(qk_flat)

    rate = Exp(A_log)
    a_biased = Add(a, dt_bias)
    step = Softplus(a_biased)
    decay = Mul(rate, step)
    log_decay = Neg(decay)
    one = Constant<value_float = 1.0>()
    b_negated = Neg(b)
    b_exp = Exp(b_negated)
    b_divisor = Add(b_exp, one)
    beta = Div(one, b_divisor)

    {read_out}, new_state = com.microsoft.LinearAttention<q_num_heads = {key_heads},
        kv_num_heads = {value_heads}, scale = {scale}, update_rule = "gated_delta">(
        q, k, v, state, log_decay, beta)
"""

# One norm for every Dv elements, so for each head.
GATED_NORM = """
    o = com.microsoft.GatedRMSNorm<activation = "silu", epsilon = {eps}>(read_out, norm, z)
"""


def expansion(call: Call) -> Expansion:
    """``GatedDeltaRule``."""
    return _expansion(call, "o", "")


def expansion_with_norm(call: Call) -> Expansion:
    """``GatedDeltaRuleNorm``."""
    return _expansion(call, "read_out", GATED_NORM.format(eps=call.number("output_norm_eps")))


def _expansion(call: Call, read_out: str, after: str) -> Expansion:
    value_heads, key_head_dim, value_head_dim = (call.size("state", axis) for axis in (1, 2, 3))
    value_dim = value_heads * value_head_dim
    both_key_dims = call.size("qkv", 2) - value_dim
    both_key_heads = both_key_dims // key_head_dim
    text = RULE.format(
        both_key_dims=both_key_dims,
        both_key_heads=both_key_heads,
        key_head_dim=key_head_dim,
        key_heads=both_key_heads // 2,
        value_dim=value_dim,
        value_heads=value_heads,
        l2_eps=call.number("norm_eps") / key_head_dim,
        scale=key_head_dim**-0.5,
        read_out=read_out,
    )
    graph = call.node.graph
    assert graph is not None, "passes rewrite nodes that are in a graph"
    unit_length = constant(graph, np.full(key_head_dim, key_head_dim**-0.5, np.float32))
    return Expansion(text + after, {"unit_length": unit_length})
