"""A decoder of two layers as text, with every op of ours in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.state_layout import StateLayout, StateTensor
from tests.oracles import Array
from tests.passes.graph_text import parse_graph

__all__ = ["ROWS", "small_decoder", "step", "weights_of"]

EMBEDDING = "table"
MATRICES = {
    EMBEDDING: (20, 16),
    "taps": (40, 4),
    "w_in": (68, 16),
    "w_out": (16, 24),
    "router": (4, 16),
    "experts_in": (4, 24, 16),
    "experts_out": (4, 16, 12),
    "share": (1, 16),
    "shared_in": (20, 16),
    "shared_out": (16, 10),
    "w_qkv": (64, 16),
    "w_o": (16, 16),
    "w_up": (24, 16),
    "w_down": (16, 12),
}
"""Weights stored in the dtype of matrices."""
OF_LINEAR = {"w_in", "w_out", "router", "w_qkv", "w_o", "w_up", "w_down"}
VECTORS = {
    **dict.fromkeys(("norm_0", "norm_1", "norm_2", "norm_3", "norm_4"), (16,)),
    **dict.fromkeys(("q_norm", "k_norm"), (8,)),
    **dict.fromkeys(("A_log", "dt_bias"), (2,)),
    "head_norm": (12,),
}
"""Weights stored in float32."""

ROWS = (
    StateTensor(0, "conv", "c0", "c1", ("slots", 3, 40), "float32", "in_place", False),
    StateTensor(0, "recurrent", "s0", "s1", ("slots", 2, 4, 12), "float32", "swap", False),
    StateTensor(1, "kv", "k0", "k1", ("slots", 1, "capacity", 8), "float32", "in_place", True),
    StateTensor(1, "kv", "v0", "v1", ("slots", 1, "capacity", 8), "float32", "in_place", True),
)

X = "float[batch,tokens,16]"
GRAPH = f"""small (int64[batch,tokens] ids, int64[batch,tokens,1] positions, int64[batch] lengths,
    int64[batch] past_lengths, float[batch,3,40] c0, float[batch,2,4,12] s0,
    float[batch,1,capacity,8] k0, float[batch,1,capacity,8] v0, WEIGHTS)
    => (float[rows,20] logits, float[batch,3,40] c1, float[batch,2,4,12] s1,
        float[batch,1,capacity,8] k1, float[batch,1,capacity,8] v1)
    <HALF[batch,tokens,16] row, {X} embedded, {X} n0, float[batch,tokens,68] in,
     float[batch,tokens,40] qkv_in, float[batch,tokens,24] z, float[batch,tokens,2] a,
     float[batch,tokens,2] b, float[batch,tokens,40] qkv, float[batch,tokens,24] o0, {X} m0, {X} n1,
     {X} mixed, float[batch,tokens,4] r, {X} f0, {X} n2, {X} out, float[batch,tokens,64] p,
     float[batch,tokens,32] qg, float[batch,tokens,16] kv, float[batch,tokens,8] k,
     float[batch,tokens,8] v, float[batch,tokens,16] rest, float[batch,tokens,1] angle,
     float[batch,tokens,1] cos, float[batch,tokens,1] sin, {X} o1, {X} m1, {X} n3, {X} x3,
     float[batch,tokens,24] gu, float[batch,tokens,12] inner, {X} f1, {X} last, {X} n4,
     float[rows,16] read, float[20,16] head>
{{
    row = Gather(table, ids)
    embedded = Cast<to = 1>(row)
    angle = Cast<to = 1>(positions)
    cos = Cos(angle)
    sin = Sin(angle)
    n0 = RMSNormalization(embedded, norm_0)
    in = ai.deltaport.Linear(n0, w_in)
    qkv_in, z, b, a = Split<axis = -1>(in, sizes_0)
    qkv, c1 = ai.deltaport.CausalConv1d(qkv_in, taps, c0, lengths)
    o0, s1 = ai.deltaport.GatedDeltaRuleNorm(
        qkv, z, a, b, A_log, dt_bias, head_norm, s0, lengths)
    m0 = ai.deltaport.Linear(o0, w_out)
    n1, mixed = ai.deltaport.AddRMSNorm(embedded, m0, norm_1)
    r = ai.deltaport.Linear(n1, router)
    f0 = ai.deltaport.SharedExpertMoE<top_k = 2>(
        n1, r, experts_in, experts_out, share, shared_in, shared_out, lengths)
    n2, out = ai.deltaport.AddRMSNorm(mixed, f0, norm_2)
    p = ai.deltaport.Linear(n2, w_qkv)
    qg, k, v, rest = Split<axis = -1>(p, sizes_1)
    o1, k1, v1 = ai.deltaport.GatedAttention<scale = 0.3>(
        qg, k, v, q_norm, k_norm, cos, sin, k0, v0, lengths, past_lengths)
    m1 = ai.deltaport.Linear(o1, w_o)
    n3, x3 = ai.deltaport.AddRMSNorm(out, m1, norm_3)
    gu = ai.deltaport.Linear(n3, w_up)
    inner = ai.deltaport.SwiGLU(gu)
    f1 = ai.deltaport.Linear(inner, w_down)
    last = Add(x3, f1)
    n4 = RMSNormalization(last, norm_4)
    read = Reshape(n4, flat)
    head = Cast<to = 1>(table)
    logits = Gemm<transB = 1>(read, head)
}}"""


def weights_of(dtype: np.dtype[Any]) -> dict[str, Array]:
    """All weights, matrices in ``dtype``; of sizes that keep activations near 1."""
    rng = np.random.default_rng(7)
    arrays = {
        name: _matrix(rng, shape, turned=name in OF_LINEAR).astype(dtype)
        for name, shape in MATRICES.items()
    }
    vectors = {name: rng.normal(size=shape) / 8 + 1 for name, shape in VECTORS.items()}
    return arrays | {name: vector.astype(np.float32) for name, vector in vectors.items()}


def _matrix(rng: np.random.Generator, shape: tuple[int, ...], *, turned: bool) -> Array:
    if turned:
        return _matrix(rng, shape[::-1], turned=False).T
    matrix: Array = rng.normal(size=shape) * shape[-1] ** -0.5
    return matrix


def small_decoder(arrays: dict[str, Array]) -> ir.Model:
    """The fused graph, its weights recipes over ``arrays``, its constants initializers."""
    half = ir.DataType.from_numpy(arrays[EMBEDDING].dtype).name.lower()
    declared = [
        f"{half if name in MATRICES else 'float'}[{','.join(map(str, array.shape))}] {name}"
        for name, array in arrays.items()
    ]
    constants = (
        "<int64[4] sizes_0 = {40, 24, 2, 2}, int64[4] sizes_1 = {32, 8, 8, 16}, "
        "int64[2] flat = {-1, 16}, HALF[batch"
    )
    text = GRAPH.replace("WEIGHTS", ", ".join(declared)).replace("<HALF[batch", constants)
    recipes = {name: Source(name, array.shape, array.dtype) for name, array in arrays.items()}
    model = parse_graph(text.replace("HALF", half), recipes)
    set_layout(model, StateLayout(ROWS))
    return model


def step(B: int, T: int) -> dict[str, Array]:
    """Inputs of one step, state included, in float32."""
    rng = np.random.default_rng(B * T)
    past = np.arange(B) + 2
    sizes = {"slots": B, "capacity": 16}
    return {
        "ids": rng.integers(0, 20, (B, T)),
        "positions": (past[:, None] + np.arange(T))[:, :, None],
        "lengths": np.full(B, T),
        "past_lengths": past,
    } | {
        row.input: rng.normal(size=[sizes.get(str(dim), dim) for dim in row.shape]).astype("f4")
        for row in ROWS
    }
