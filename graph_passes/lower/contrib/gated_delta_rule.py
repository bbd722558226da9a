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

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.delta_rule_inputs import GATES, DeltaRuleSizes
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion", "expansion_with_norm"]

RULE = """
    flat = Constant<value_ints = [0, 0, {both_key_dims}]>()
    qk_flat = Reshape(qk_normed, flat)
    q, k = Split<axis = 2, num_outputs = 2>(qk_flat)
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
    sizes = DeltaRuleSizes.of(call)
    rule = RULE.format(
        both_key_dims=sizes.both_key_dims,
        key_heads=sizes.key_heads,
        value_heads=sizes.value_heads,
        scale=sizes.key_head_dim**-0.5,
        read_out=read_out,
    )
    text = sizes.unit_keys("qkv") + GATES.format(a="a", b="b") + rule + after
    return Expansion(text, sizes.values)
