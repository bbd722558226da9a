"""``GatedAttention`` as ``TRT_KVCacheUpdate`` and ``TRT_Attention``, between norms and a gate.

``TRT_KVCacheUpdate`` writes k or v [B,Hkv,T,D] into a cache [B,Hkv,capacity,D] from column
``write_indices`` [B] on; the buffer of the new cache must be that of the old one. ``TRT_Attention``
takes q [B,Hq,T,D], both caches, and how many columns of each row to look at, ``kv_lengths`` [B];
``lower_right`` puts the last query at the last of them. So padding, which would push a row's real
queries to the left, is not allowed: every row must have T tokens. It scales nothing itself.

ONNX's own ``Attention`` would say so with ``nonpad_kv_seqlen``, which TensorRT's parser drops.
"""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

ROTATED = """
    {name}_normed = RMSNormalization<axis = -1, epsilon = {eps}>({name}_heads, {name}_norm)
    {name}_by_head = Transpose<perm = [0, 2, 1, 3]>({name}_normed)
    {name}_rotated = RotaryEmbedding<rotary_embedding_dim = {rotary_dim}>({name}_by_head, cos, sin)
"""

# Where no kernel does all of it at once TensorRT may take several.
ATTENTION = """
    pair_shape = Constant<value_ints = [0, 0, {heads}, {pair}]>()
    kv_shape = Constant<value_ints = [0, 0, {kv_heads}, {head_dim}]>()
    flat_shape = Constant<value_ints = [0, 0, {width}]>()
    q_gate_heads = Reshape(q_gate, pair_shape)
    q_heads, gate_heads = Split<axis = 3, num_outputs = 2>(q_gate_heads)
    k_heads = Reshape(k, kv_shape)
    v_heads = Reshape(v, kv_shape)
{rotated_q}
{rotated_k}
    v_by_head = Transpose<perm = [0, 2, 1, 3]>(v_heads)
    first_columns = Cast<to = 6>(past_lengths)
    total_lengths = Add(past_lengths, lengths)
    columns = Cast<to = 6>(total_lengths)
    present_key = trt.TRT_KVCacheUpdate(past_key, k_rotated, first_columns)
    present_value = trt.TRT_KVCacheUpdate(past_value, v_by_head, first_columns)
{scaled_q}
    attended_by_head = trt.TRT_Attention<causal_kind = "lower_right", TRT_decomposable = 1>(
        {q}, present_key, present_value, , , columns)
    attended_heads = Transpose<perm = [0, 2, 1, 3]>(attended_by_head)
    attended = Reshape(attended_heads, flat_shape)
    gate_logits = Reshape(gate_heads, flat_shape)
    gate = Sigmoid(gate_logits)
    o = Mul(attended, gate)
"""
SCALED = """
    scale_wide = Constant<value_float = {scale}>()
    scale = Cast<to = {dtype}>(scale_wide)
    q_scaled = Mul(q_rotated, scale)
"""


def expansion(call: Call) -> Expansion:
    """Scores are scaled by way of the queries, if ``fold-query-scale`` did not do it."""
    head_dim, kv_heads = call.size("q_norm", 0), call.size("past_key", 1)
    heads = call.size("q_gate", 2) // (2 * head_dim)
    scale, dtype = call.number("scale"), call.dtype("q_gate")

    def rotated(name: str) -> str:
        eps, rotary_dim = call.number("norm_eps"), 2 * call.size("cos", 2)
        return ROTATED.format(name=name, eps=eps, rotary_dim=rotary_dim)

    return Expansion(
        ATTENTION.format(
            rotated_q=rotated("q"),
            rotated_k=rotated("k"),
            scaled_q="" if scale == 1.0 else SCALED.format(scale=scale, dtype=dtype.value),
            q="q_rotated" if scale == 1.0 else "q_scaled",
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            pair=2 * head_dim,
            width=heads * head_dim,
        )
    )
