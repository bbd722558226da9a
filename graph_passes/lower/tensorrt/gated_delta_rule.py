"""``GatedDeltaRule`` and ``GatedDeltaRuleNorm`` in standard ops: a scan over chunks, in float32.

A single token is a chunk as well, so decode does the products of 64 tokens: what our plugin is for.
It knows no padding: every row must have T tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.custom_ops.definitions.delta_rule_chunks import CHUNK, CHUNK_SCAN
from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.delta_rule_inputs import GATES, DeltaRuleSizes
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.rewriting import constant

__all__ = ["expansion", "expansion_with_norm"]

WIDE = """
    qkv_wide = Cast<to = 1>(qkv)
    a_wide = Cast<to = 1>(a)
    b_wide = Cast<to = 1>(b)
"""

# Tokens that fill the last chunk up have no decay, a log of 0, and write nothing, a strength of 0.
CHUNKS = """
    f_zero = Constant<value_float = 0.0>()
    axis_1 = Constant<value_ints = [1]>()
    axis_2 = Constant<value_ints = [2]>()
    axis_last = Constant<value_ints = [-1]>()
    last_axis = Constant<value_int = -1>()
    row_axis = Constant<value_int = -2>()
    none = Constant<value_ints = [0]>()
    chunk = Constant<value_ints = [{chunk}]>()
    all_tokens = Shape<start = 1, end = 2>(qkv)
    rest = Mod(all_tokens, chunk)
    missing = Sub(chunk, rest)
    padding = Mod(missing, chunk)
    pads = Concat<axis = 0>(none, padding)
    qk_padded = Pad(qk_normed, pads, f_zero, axis_1)
    v_padded = Pad(v, pads, f_zero, axis_1)
    g_padded = Pad(log_decay, pads, f_zero, axis_1)
    beta_padded = Pad(beta, pads, f_zero, axis_1)

    qk_dims = Constant<value_ints = [0, -1, {chunk}, {both_key_heads}, {key_head_dim}]>()
    v_dims = Constant<value_ints = [0, -1, {chunk}, {key_heads}, {group}, {value_head_dim}]>()
    gate_dims = Constant<value_ints = [0, -1, {chunk}, {key_heads}, {group}]>()
    qk_chunks = Reshape(qk_padded, qk_dims)
    v_chunks = Reshape(v_padded, v_dims)
    g_chunks = Reshape(g_padded, gate_dims)
    beta_chunks = Reshape(beta_padded, gate_dims)
    qk_scan = Transpose<perm = [1, 0, 3, 2, 4]>(qk_chunks)
    q_unit, k_scan = Split<axis = 2, num_outputs = 2>(qk_scan)
    scale = Constant<value_float = {scale}>()
    q_scan = Mul(q_unit, scale)
    v_scan = Transpose<perm = [1, 0, 3, 4, 2, 5]>(v_chunks)
    g_scan = Transpose<perm = [1, 0, 3, 4, 2]>(g_chunks)
    beta_scan = Transpose<perm = [1, 0, 3, 4, 2]>(beta_chunks)
    grouped = Constant<value_ints = [0, {key_heads}, {group}, {key_head_dim}, {value_head_dim}]>()
    S = Reshape(state, grouped)
"""

READ_OUT = """
    new_dims = Constant<value_ints = [0, {value_heads}, {key_head_dim}, {value_head_dim}]>()
    new_state = Reshape(S_many, new_dims)
    o_chunks = Transpose<perm = [1, 0, 4, 2, 3, 5]>(o_scan)
    o_dims = Constant<value_ints = [0, -1, {value_heads}, {value_head_dim}]>()
    o_padded = Reshape(o_chunks, o_dims)
    read_out = Slice(o_padded, none, all_tokens, axis_1)
"""
PLAIN = """
    flat = Constant<value_ints = [0, 0, {value_dim}]>()
    o_wide = Reshape(read_out, flat)
"""
NORMED = """
    flat = Constant<value_ints = [0, 0, {value_dim}]>()
    normed_heads = RMSNormalization<axis = -1, epsilon = {eps}>(read_out, norm)
    normed = Reshape(normed_heads, flat)
    z_wide = Cast<to = 1>(z)
    z_sigmoid = Sigmoid(z_wide)
    z_silu = Mul(z_wide, z_sigmoid)
    o_wide = Mul(normed, z_silu)
"""
NARROW = """
    o = Cast<to = {dtype}>(o_wide)
"""


def expansion(call: Call) -> Expansion:
    """``GatedDeltaRule``."""
    sizes = DeltaRuleSizes.of(call)
    return _expansion(sizes, PLAIN.format(value_dim=sizes.value_dim))


def expansion_with_norm(call: Call) -> Expansion:
    """``GatedDeltaRuleNorm``."""
    sizes, eps = DeltaRuleSizes.of(call), call.number("output_norm_eps")
    return _expansion(sizes, NORMED.format(value_dim=sizes.value_dim, eps=eps))


def _expansion(sizes: DeltaRuleSizes, after: str) -> Expansion:
    counts = {
        "chunk": CHUNK,
        "key_heads": sizes.key_heads,
        "both_key_heads": 2 * sizes.key_heads,
        "value_heads": sizes.value_heads,
        "group": sizes.value_heads // sizes.key_heads,
        "key_head_dim": sizes.key_head_dim,
        "value_head_dim": sizes.value_head_dim,
        "scale": sizes.key_head_dim**-0.5,
    }
    call, dtype = sizes.call, sizes.call.dtype("qkv")
    text = (
        WIDE
        + sizes.unit_keys("qkv_wide")
        + GATES.format(a="a_wide", b="b_wide")
        + CHUNKS.format(**counts)
        + CHUNK_SCAN
        + READ_OUT.format(**counts)
        + after
        + NARROW.format(dtype=dtype.value)
    )
    graph = call.node.graph
    assert graph is not None, "passes rewrite nodes that are in a graph"
    triangles = {name: constant(graph, array) for name, array in _triangles().items()}
    return Expansion(text, {**sizes.values, **triangles})


def _triangles() -> dict[str, NDArray[Any]]:
    """What :data:`CHUNK_SCAN` reads of the square of a chunk's tokens."""
    row, col = np.indices((CHUNK, CHUNK))
    found = {
        "below": row > col,
        "upto": row >= col,
        "identity": np.eye(CHUNK, dtype=np.float32),
    }
    size = 1
    while size < CHUNK:
        found[f"half_{size}"] = (row // size % 2 == 1) & (col // size == row // size - 1)
        size *= 2
    return found
