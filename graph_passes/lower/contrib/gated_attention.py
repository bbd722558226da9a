"""``GatedAttention`` as ``GroupQueryAttention`` between standard norms, rotations and a gate.

``GroupQueryAttention`` takes q [B,T,Hq*D], k and v [B,T,Hkv*D] and caches [B,Hkv,capacity,D], and
wants D to be a multiple of 8. ``seqlens_k`` [B] is each row's last column, past + new - 1, and
``total_sequence_length`` the largest past + new, both int32. More than one token a row after cached
ones takes a batch of one; it knows no padding. Where past and present are one buffer it writes the
new columns into it, by design. It could do the norms too, but not on CPU.

Angles come from the graph, so the op's own rotation, which looks them up by column, stays off.
``RotaryEmbedding`` of the standard takes cosines [B,T,R/2] as they are, and rotates the first R
dimensions of every head.

CUDA has kernels for float16 and bfloat16 only (onnxruntime 1.31): in float32 this one node runs on
the CPU, and the caches travel.
"""

from __future__ import annotations

from deltaport.errors import ConfigError
from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

_HEAD_MULTIPLE = 8

ROTATED = """
    {name}_flat_shape = Constant<value_ints = [0, 0, {width}]>()
    {name}_normed = RMSNormalization<axis = -1, epsilon = {eps}>({name}_heads, {name}_norm)
    {name}_flat = Reshape({name}_normed, {name}_flat_shape)
    {name}_rotated = RotaryEmbedding<num_heads = {heads}, rotary_embedding_dim = {rotary_dim}>(
        {name}_flat, cos, sin)
"""

ATTENTION = """
    pair_shape = Constant<value_ints = [0, 0, {heads}, {pair}]>()
    kv_shape = Constant<value_ints = [0, 0, {kv_heads}, {head_dim}]>()
    q_gate_heads = Reshape(q_gate, pair_shape)
    q_heads, gate_heads = Split<axis = 3, num_outputs = 2>(q_gate_heads)
    k_heads = Reshape(k, kv_shape)
{rotated_q}
{rotated_k}
    one = Constant<value_int = 1>()
    total_lengths = Add(past_lengths, lengths)
    last_columns = Sub(total_lengths, one)
    seqlens_k = Cast<to = 6>(last_columns)
    longest = ReduceMax<keepdims = 0>(total_lengths)
    total_sequence_length = Cast<to = 6>(longest)
    attended, present_key, present_value = com.microsoft.GroupQueryAttention<num_heads = {heads},
        kv_num_heads = {kv_heads}, scale = {scale}>(
        q_rotated, k_rotated, v, past_key, past_value, seqlens_k, total_sequence_length)

    gate_logits = Reshape(gate_heads, q_flat_shape)
    gate = Sigmoid(gate_logits)
    o = Mul(attended, gate)
"""


def expansion(call: Call) -> Expansion:
    """Raises ``ConfigError`` for heads the contrib op does not take."""
    head_dim, kv_heads = call.size("q_norm", 0), call.size("past_key", 1)
    if head_dim % _HEAD_MULTIPLE:
        raise ConfigError(
            f"head_dim is {head_dim}, expected a multiple of {_HEAD_MULTIPLE} for targets that "
            "run onnxruntime's GroupQueryAttention; choose another --target"
        )
    heads = call.size("q_gate", 2) // (2 * head_dim)

    def rotated(name: str, count: int) -> str:
        return ROTATED.format(
            name=name,
            heads=count,
            width=count * head_dim,
            eps=call.number("norm_eps"),
            rotary_dim=2 * call.size("cos", 2),
        )

    return Expansion(
        ATTENTION.format(
            rotated_q=rotated("q", heads),
            rotated_k=rotated("k", kv_heads),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            pair=2 * head_dim,
            scale=call.number("scale"),
        )
    )
