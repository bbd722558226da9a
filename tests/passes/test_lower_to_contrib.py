"""Every op of ours becomes contrib and standard ops; names, dtypes and shapes stay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN
from deltaport.errors import ConfigError, PassError
from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.graph_pass import PreconditionError
from deltaport.graph_passes.lower.contrib import EXPANSIONS
from deltaport.graph_passes.lower.lower_to_contrib import LowerToContrib
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.rewriting import constant_of
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from deltaport.state_layout import StateKind, StateLayout, StateTensor
from tests.passes.graph_text import lines, parse_graph, print_graph, weight

Row = tuple[StateKind, str, str]
SHAPES: dict[StateKind, tuple[int | str, ...]] = {
    "kv": ("slots", 2, "capacity", 8),
    "conv": ("slots", 3, 6),
    "recurrent": ("slots", 6, 4, 4),
}


def parse(
    text: str, weights: Sequence[Recipe] = (), rows: Sequence[Row] = (), *, opset: int = 24
) -> ir.Model:
    """A graph; a recipe over one tensor has the name of that tensor, rows start ``in_place``."""
    named = {next(recipe.sources()): recipe for recipe in weights}
    model = parse_graph(text, named, opset=opset)
    layout = [
        StateTensor(0, kind, past, present, SHAPES[kind], "float32", "in_place", False)
        for kind, past, present in rows
    ]
    set_layout(model, StateLayout(tuple(layout)))
    return model


def lower(text: str, weights: Sequence[Recipe] = (), rows: Sequence[Row] = ()) -> ir.Model:
    """The lowered graph: sound, and left alone by a second run."""
    model = parse(text, weights, rows)
    before = {value.name: (value.dtype, value.shape) for value in model.graph.outputs}
    assert LowerToContrib()(model).modified
    once = print_graph(model.graph)
    assert not LowerToContrib()(model).modified
    assert print_graph(model.graph) == once
    assert model.graph.opset_imports == {"": 24, "com.microsoft": 1}
    assert {value.name: (value.dtype, value.shape) for value in model.graph.outputs} == before
    VerifyGraph()(model)
    return model


def shown(model: ir.Model) -> str:
    """The graph as text, constants by value."""
    text = print_graph(model.graph)
    for name, value in model.graph.initializers.items():
        array = constant_of(value)
        if array is not None:
            text = text.replace(name, str(np.round(array, 4).tolist()))
    return text


def updates(model: ir.Model) -> list[str]:
    return [tensor.update for tensor in layout_of(model)]


def test_every_op_has_an_expansion() -> None:
    # Of quantized weights the contrib ops want another layout: no pipeline brings them here.
    quantized = {name for name in DEFINITIONS if name.startswith("Quantized")}
    assert set(EXPANSIONS) == set(DEFINITIONS) - quantized


CONVOLUTION = """g (float[batch,tokens,6] x, float[6,4] w, float[batch,3,6] s, int64[batch] n)
    => (float[batch,tokens,6] y, float[batch,3,6] s1)
{
    y, s1 = ai.deltaport.CausalConv1d(x, w, s, n)
}"""
CONV_STATE: Row = ("conv", "s", "s1")


def test_causal_conv1d() -> None:
    model = lower(CONVOLUTION, [weight("w", 6, 4)], [CONV_STATE])
    assert shown(model) == lines(
        """w [6, 1, 4] = unsqueeze(w:float32[6,4], axis=1)
        y, s1 = com.microsoft.CausalConvWithState(x, w, , s) activation=silu channels_last=1"""
    )
    assert updates(model) == ["swap"]


def test_a_weight_of_half_precision_is_widened() -> None:
    text = CONVOLUTION.replace("float[6,4]", "float16[6,4]")
    model = lower(text, [Source("w", (6, 4), np.dtype(np.float16))])
    assert shown(model) == lines(
        """w [6, 1, 4] = unsqueeze(w:float16[6,4], axis=1)
        y.taps = Cast(w) to=1
        y, s1 = com.microsoft.CausalConvWithState(x, y.taps, , s) activation=silu channels_last=1"""
    )


def test_a_weight_with_other_readers_keeps_its_layout() -> None:
    text = CONVOLUTION.replace("=> (", "=> (float[6,4] v, ").replace("{", "{ v = Relu(w)")
    twice = text.replace("s1)\n{", "s1, float[batch,3,6] s2, float[batch,tokens,6] z)\n{").replace(
        "(x, w, s, n)\n", "(x, w, s, n)\n z, s2 = ai.deltaport.CausalConv1d(y, w, s, n)\n"
    )
    assert shown(lower(twice, [weight("w", 6, 4)])) == lines(
        """w [6, 4] = w:float32[6,4]
        w.unsqueezed [6, 1, 4] = unsqueeze(w:float32[6,4], axis=1)
        v = Relu(w)
        y, s1 = com.microsoft.CausalConvWithState(x, w.unsqueezed, , s) activation=silu channels_last=1
        z, s2 = com.microsoft.CausalConvWithState(y, w.unsqueezed, , s) activation=silu channels_last=1"""  # noqa: E501
    )


RULE = """g (float[batch,tokens,40] qkv, float[batch,tokens,24] z, float[batch,tokens,6] a,
    float[batch,tokens,6] b, float[6] A_log, float[6] dt, float[4] norm,
    float[batch,6,4,4] s, int64[batch] n)
    => (float[batch,tokens,24] o, float[batch,6,4,4] s1)
{
    o, s1 = ai.deltaport.CALL
}"""
RULE_STATE: Row = ("recurrent", "s", "s1")
RULE_LOWERED = """o.qk, o.v = Split(qkv, [16, 24]) axis=2
    o.qk_heads = Reshape(o.qk, [0, 0, 4, 4])
    o.qk_normed = RMSNormalization(o.qk_heads, [0.5, 0.5, 0.5, 0.5]) axis=-1 epsilon=0.25
    o.rate = Exp(A_log)
    o.a_biased = Add(a, dt)
    o.step = Softplus(o.a_biased)
    o.decay = Mul(o.rate, o.step)
    o.log_decay = Neg(o.decay)
    o.b_negated = Neg(b)
    o.b_exp = Exp(o.b_negated)
    o.b_divisor = Add(o.b_exp, 1.0)
    o.beta = Div(1.0, o.b_divisor)
    o.qk_flat = Reshape(o.qk_normed, [0, 0, 16])
    o.q, o.k = Split(o.qk_flat) axis=2 num_outputs=2
    READ, s1 = com.microsoft.LinearAttention(o.q, o.k, o.v, s, o.log_decay, o.beta) q_num_heads=2 \
kv_num_heads=6 scale=0.5 update_rule=gated_delta"""


def test_gated_delta_rule() -> None:
    call = "GatedDeltaRule<norm_eps = 1.0>(qkv, a, b, A_log, dt, s, n)"
    model = lower(RULE.replace("CALL", call), [], [RULE_STATE])
    assert shown(model) == lines(RULE_LOWERED.replace("READ", "o"))
    assert updates(model) == ["swap"]


def test_gated_delta_rule_norm() -> None:
    call = (
        "GatedDeltaRuleNorm<norm_eps = 1.0, output_norm_eps = 0.125>"
        "(qkv, z, a, b, A_log, dt, norm, s, n)"
    )
    model = lower(RULE.replace("CALL", call), [], [RULE_STATE])
    gated = "o = com.microsoft.GatedRMSNorm(o.read_out, norm, z) activation=silu epsilon=0.125"
    assert shown(model) == lines(RULE_LOWERED.replace("READ", "o.read_out") + f"\n{gated}")
    assert updates(model) == ["swap"]


ATTENTION = """g (float[batch,tokens,64] qg, float[batch,tokens,16] k, float[batch,tokens,16] v,
    float[8] qn, float[8] kn, float[batch,tokens,2] cos, float[batch,tokens,2] sin,
    float[batch,2,capacity,8] pk, float[batch,2,capacity,8] pv, int64[batch] n, int64[batch] p)
    => (float[batch,tokens,32] o, float[batch,2,capacity,8] nk, float[batch,2,capacity,8] nv)
{
    o, nk, nv = ai.deltaport.GatedAttention<scale = 0.5, norm_eps = 0.25>(
        qg, k, v, qn, kn, cos, sin, pk, pv, n, p)
}"""


def test_gated_attention() -> None:
    model = lower(ATTENTION, [], [("kv", "pk", "nk"), ("kv", "pv", "nv")])
    assert shown(model) == lines(
        """o.q_gate_heads = Reshape(qg, [0, 0, 4, 16])
        o.q_heads, o.gate_heads = Split(o.q_gate_heads) axis=3 num_outputs=2
        o.k_heads = Reshape(k, [0, 0, 2, 8])
        o.q_normed = RMSNormalization(o.q_heads, qn) axis=-1 epsilon=0.25
        o.q_flat = Reshape(o.q_normed, [0, 0, 32])
        o.q_rotated = RotaryEmbedding(o.q_flat, cos, sin) num_heads=4 rotary_embedding_dim=4
        o.k_normed = RMSNormalization(o.k_heads, kn) axis=-1 epsilon=0.25
        o.k_flat = Reshape(o.k_normed, [0, 0, 16])
        o.k_rotated = RotaryEmbedding(o.k_flat, cos, sin) num_heads=2 rotary_embedding_dim=4
        o.total_lengths = Add(p, n)
        o.last_columns = Sub(o.total_lengths, 1)
        o.seqlens_k = Cast(o.last_columns) to=6
        o.longest = ReduceMax(o.total_lengths) keepdims=0
        o.total_sequence_length = Cast(o.longest) to=6
        o.attended, nk, nv = com.microsoft.GroupQueryAttention(o.q_rotated, o.k_rotated, v, pk, \
pv, o.seqlens_k, o.total_sequence_length) num_heads=4 kv_num_heads=2 scale=0.5
        o.gate_logits = Reshape(o.gate_heads, [0, 0, 32])
        o.gate = Sigmoid(o.gate_logits)
        o = Mul(o.attended, o.gate)"""
    )
    assert updates(model) == ["in_place", "in_place"]


MOE = """g (float[batch,tokens,4] x, float[batch,tokens,3] r, float[3,10,4] gu, float[3,4,5] d,
    float[1,4] sg, float[12,4] sgu, float[4,6] sd, int64[batch] n) => (float[batch,tokens,4] y)
{
    y = ai.deltaport.CALL
}"""
EXPERTS = [weight("gu", 3, 10, 4), weight("d", 3, 4, 5)]
SHARED = [weight("sg", 1, 4), weight("sgu", 12, 4), weight("sd", 4, 6)]
MOE_ATTRIBUTES = (
    "k=2 activation_type=swiglu swiglu_fusion=1 activation_alpha=1.0 activation_beta=0.0 "
    "normalize_routing_weights=1"
)


def test_sparse_moe() -> None:
    text = MOE.replace("CALL", "SparseMoE<top_k = 2>(x, r, gu, d, n)")
    assert shown(lower(text, EXPERTS)) == lines(
        f"""gu [3, 10, 4] = interleave(gu:float32[3,10,4], axis=1)
        d [3, 4, 5] = d:float32[3,4,5]
        y.router_rows = Reshape(r, [-1, 3])
        y = com.microsoft.MoE(x, y.router_rows, gu, , d) {MOE_ATTRIBUTES}"""
    )


def test_shared_expert_moe() -> None:
    text = MOE.replace("CALL", "SharedExpertMoE<top_k = 2>(x, r, gu, d, sg, sgu, sd, n)")
    assert shown(lower(text, EXPERTS + SHARED)) == lines(
        f"""gu [3, 10, 4] = interleave(gu:float32[3,10,4], axis=1)
        d [3, 4, 5] = d:float32[3,4,5]
        sg [4, 1] = transpose(sg:float32[1,4], perm=(1, 0))
        sgu [4, 12] = transpose(sgu:float32[12,4], perm=(1, 0))
        sd [6, 4] = transpose(sd:float32[4,6], perm=(1, 0))
        y.router_rows = Reshape(r, [-1, 3])
        y.routed = com.microsoft.MoE(x, y.router_rows, gu, , d) {MOE_ATTRIBUTES}
        y.shared_both = MatMul(x, sgu)
        y.gate, y.up = Split(y.shared_both) axis=-1 num_outputs=2
        y.gate_sigmoid = Sigmoid(y.gate)
        y.gate_silu = Mul(y.gate, y.gate_sigmoid)
        y.inner = Mul(y.gate_silu, y.up)
        y.shared = MatMul(y.inner, sd)
        y.share_logit = MatMul(x, sg)
        y.share = Sigmoid(y.share_logit)
        y.shared_part = Mul(y.shared, y.share)
        y = Add(y.routed, y.shared_part)"""
    )


def test_add_rms_norm() -> None:
    model = lower(
        """g (float[batch,tokens,4] x, float[batch,tokens,4] r, float[4] w)
            => (float[batch,tokens,4] y, float[batch,tokens,4] s)
        { y, s = ai.deltaport.AddRMSNorm<norm_eps = 0.25>(x, r, w) }"""
    )
    assert shown(model) == (
        "y, , , s = com.microsoft.SkipSimplifiedLayerNormalization(x, r, w) epsilon=0.25"
    )


def test_swiglu() -> None:
    model = lower(
        """g (float[batch,tokens,8] x) => (float[batch,tokens,4] y)
        { y = ai.deltaport.SwiGLU(x) }"""
    )
    assert shown(model) == lines(
        """y.gate, y.up = Split(x) axis=-1 num_outputs=2
        y.gate_sigmoid = Sigmoid(y.gate)
        y.gate_silu = Mul(y.gate, y.gate_sigmoid)
        y = Mul(y.gate_silu, y.up)"""
    )


def test_linear() -> None:
    text = """g (float[batch,tokens,4] x, float16[3,4] w) => (float[batch,tokens,3] y)
        { y = ai.deltaport.Linear(x, w) }"""
    assert shown(lower(text, [Source("w", (3, 4), np.dtype(np.float16))])) == lines(
        """w [4, 3] = transpose(w:float16[3,4], perm=(1, 0))
        y.wide = Cast(w) to=1
        y = MatMul(x, y.wide)"""
    )


def test_constants_are_shared() -> None:
    text = RULE.replace("CALL", "GatedDeltaRule(qkv, a, b, A_log, dt, s, n)").replace(
        "s, n)\n}", "s, n)\n p, t = ai.deltaport.GatedDeltaRule(qkv, a, b, A_log, dt, s, n)\n}"
    )
    text = text.replace("=> (", "=> (float[batch,tokens,24] p, float[batch,6,4,4] t, ")
    assert len(lower(text).graph.initializers) == 5  # two shapes, the split, the unit length, one


def test_a_standard_graph_is_left_alone() -> None:
    model = parse("g (float[N] x) => (float[N] y) { y = Relu(x) }", [], [("kv", "x", "y")])
    assert not LowerToContrib()(model).modified
    assert updates(model) == ["in_place"]


def test_an_op_without_expansion_is_an_error() -> None:
    model = parse(f"g (float[N] x) => (float[N] y) {{ y = {DOMAIN}.Fused(x) }}")
    with pytest.raises(PassError, match=r"lower-to-contrib: ai\.deltaport\.Fused has no expansion"):
        LowerToContrib()(model)


def test_a_weight_without_recipe_is_an_error() -> None:
    with pytest.raises(PassError, match=r"CausalConv1d .*: weight is w, expected a weight"):
        LowerToContrib()(parse(CONVOLUTION))


def test_heads_that_are_not_known_are_an_error() -> None:
    call = "GatedDeltaRule(qkv, a, b, A_log, dt, s, n)"
    text = RULE.replace("CALL", call).replace("float[batch,6,4,4] s,", "float[batch,Hv,4,4] s,")
    with pytest.raises(PassError, match=r"state has shape .*, axis 1 is not known"):
        LowerToContrib()(parse(text))


def test_a_missing_attribute_is_an_error() -> None:
    with pytest.raises(PassError, match=r"GatedAttention .*: attribute scale is missing"):
        LowerToContrib()(parse(ATTENTION.replace("scale = 0.5, ", "")))


def test_heads_the_contrib_op_refuses_are_the_users_to_know() -> None:
    text = ATTENTION.replace("64] qg", "96] qg").replace("8]", "12]").replace("16]", "24]")
    with pytest.raises(ConfigError, match=r"head_dim is 12, expected a multiple of 8.*--target"):
        LowerToContrib()(parse(text.replace("32] o", "48] o")))


@pytest.mark.parametrize("opset", [23, 25])
def test_another_opset_is_refused(opset: int) -> None:
    model = parse(CONVOLUTION, [weight("w", 6, 4)], opset=opset)
    with pytest.raises(PreconditionError, match=rf"opset {opset}.* opset 24"):
        LowerToContrib()(model)
