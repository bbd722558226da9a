"""Projections of one activation that a mixer takes become one product and a split."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from deltaport.graph_passes.fuse.fuse_projections import FuseProjections
from deltaport.graph_passes.quantize.weight_tags import format_of, set_format
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.weight_format import WeightFormat
from tests.passes.graph_text import parse_graph, weight
from tests.passes.rewrite_check import check_refusal, check_rewrite, check_same_results

B, T = 2, 3
RULE_HEADER = """g (float[B,T,4] x, float[4,20] w_qkv, float[4,12] w_z, float[4,2] w_b,
    float[4,2] w_a, float[20,4] taps, float[2] A_log, float[2] dt_bias, float[6] norm,
    float[B,3,20] window, float[B,2,4,6] past, int64[B] n)
    => (float[B,T,12] o, float[B,3,20] window2, float[B,2,4,6] present)
    <float[B,T,20] qkv, float[B,T,12] z, float[B,T,2] b, float[B,T,2] a, float[B,T,20] mixed>"""
QKV, A, BETA, Z = (
    f"{name} = MatMul(x, w_{name})" for name in ("qkv", "a", "b", "z")
)  # as traced: z comes last
CONV = "mixed, window2 = ai.deltaport.CausalConv1d(qkv, taps, window, n)"
RULE = "o, present = ai.deltaport.GatedDeltaRuleNorm(mixed, z, a, b, A_log, dt_bias, norm, past, n)"
PLAIN = "o, present = ai.deltaport.GatedDeltaRule(mixed, a, b, A_log, dt_bias, past, n)"
RULE_WEIGHTS: dict[str, Recipe] = {
    "w_qkv": weight("w_qkv", 4, 20),
    "w_z": weight("w_z", 4, 12),
    "w_b": weight("w_b", 4, 2),
    "w_a": weight("w_a", 4, 2),
    "taps": weight("taps", 20, 4),
    "A_log": weight("A_log", 2),
    "dt_bias": weight("dt_bias", 2),
    "norm": weight("norm", 6),
}
OTHERS = """taps [20, 4] = taps:float32[20,4]
    A_log [2] = A_log:float32[2]
    dt_bias [2] = dt_bias:float32[2]
    norm [6] = norm:float32[6]"""

ATTENTION_HEADER = """g (float[B,T,4] x, float[4,32] w_q, float[4,8] w_k, float[4,8] w_v,
    float[32] b_q, float[8] b_k, float[8] b_v, float[8] q_norm, float[8] k_norm,
    float[B,T,2] cos, float[B,T,2] sin, float[B,1,C,8] pk, float[B,1,C,8] pv, int64[B] n,
    int64[B] p)
    => (float[B,T,16] o, float[B,1,C,8] k1, float[B,1,C,8] v1)
    <float[B,T,32] q, float[B,T,8] k, float[B,T,8] v, float[B,T,32] q0, float[B,T,8] k0,
     float[B,T,8] v0>"""
ATTENTION = """o, k1, v1 = ai.deltaport.GatedAttention<scale = 0.5>(
    q, k, v, q_norm, k_norm, cos, sin, pk, pv, n, p)"""
ATTENTION_WEIGHTS: dict[str, Recipe] = {
    "w_q": weight("w_q", 4, 32),
    "w_k": weight("w_k", 4, 8),
    "w_v": weight("w_v", 4, 8),
    "b_q": weight("b_q", 32),
    "b_k": weight("b_k", 8),
    "b_v": weight("b_v", 8),
    "q_norm": weight("q_norm", 8),
    "k_norm": weight("k_norm", 8),
}
NORMS = """q_norm [8] = q_norm:float32[8]
    k_norm [8] = k_norm:float32[8]"""
BIASED = tuple(
    line
    for name in "qkv"
    for line in (f"{name}0 = MatMul(x, w_{name})", f"{name} = Add({name}0, b_{name})")
)


def graph(*nodes: str, header: str = RULE_HEADER) -> str:
    return header + "{\n" + "\n".join(nodes) + "\n}"


def attention(*nodes: str) -> str:
    return graph(*nodes, ATTENTION, header=ATTENTION_HEADER)


def rule_inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    sizes = {"x": (B, T, 4), "window": (B, 3, 20), "past": (B, 2, 4, 6)}
    found = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    return found | {"n": np.array([T, 1], np.int64)}


def attention_inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    sizes = {"x": (B, T, 4), "cos": (B, T, 2), "sin": (B, T, 2)}
    sizes |= {"pk": (B, 1, 9, 8), "pv": (B, 1, 9, 8)}
    found = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    return found | {"n": np.array([T, 2], np.int64), "p": np.array([4, 0], np.int64)}


@pytest.mark.parametrize("order", [(QKV, CONV, A, BETA, Z), (Z, BETA, A, QKV, CONV)])
def test_those_of_a_delta_rule_fuse(order: tuple[str, ...]) -> None:
    check_rewrite(
        FuseProjections(),
        graph(*order, RULE),
        f"""{OTHERS}
        w_qkv+w_z+w_b+w_a [4, 36] = concat(w_qkv:float32[4,20], w_z:float32[4,12], \
w_b:float32[4,2], w_a:float32[4,2], axis=1)
        qkv.joined = MatMul(x, w_qkv+w_z+w_b+w_a)
        qkv, z, b, a = Split(qkv.joined, const.int64.4.20_12_2_2) axis=-1
        mixed, window2 = ai.deltaport.CausalConv1d(qkv, taps, window, n)
        o, present = ai.deltaport.GatedDeltaRuleNorm(mixed, z, a, b, A_log, dt_bias, norm, past, n)
        """,
        RULE_WEIGHTS,
    )


def test_those_of_a_delta_rule_without_norm_fuse() -> None:
    text = graph(QKV, CONV, A, BETA, PLAIN)
    check_rewrite(
        FuseProjections(),
        text,
        """taps [20, 4] = taps:float32[20,4]
        A_log [2] = A_log:float32[2]
        dt_bias [2] = dt_bias:float32[2]
        w_qkv+w_b+w_a [4, 24] = concat(w_qkv:float32[4,20], w_b:float32[4,2], w_a:float32[4,2], \
axis=1)
        qkv.joined = MatMul(x, w_qkv+w_b+w_a)
        qkv, b, a = Split(qkv.joined, const.int64.3.20_2_2) axis=-1
        mixed, window2 = ai.deltaport.CausalConv1d(qkv, taps, window, n)
        o, present = ai.deltaport.GatedDeltaRule(mixed, a, b, A_log, dt_bias, past, n)""",
        RULE_WEIGHTS,
    )


def test_those_of_an_attention_fuse() -> None:
    text = attention(*(f"{name} = MatMul(x, w_{name})" for name in "qkv"))
    check_rewrite(
        FuseProjections(),
        text,
        f"""{NORMS}
        w_q+w_k+w_v [4, 48] = concat(w_q:float32[4,32], w_k:float32[4,8], w_v:float32[4,8], axis=1)
        q.joined = MatMul(x, w_q+w_k+w_v)
        q, k, v = Split(q.joined, const.int64.3.32_8_8) axis=-1
        o, k1, v1 = ai.deltaport.GatedAttention(q, k, v, q_norm, k_norm, cos, sin, pk, pv, n, p) \
scale=0.5""",
        ATTENTION_WEIGHTS,
    )
    check_same_results(FuseProjections(), text, ATTENTION_WEIGHTS, attention_inputs())


@pytest.mark.parametrize("add", ["Add({0}0, b_{0})", "Add(b_{0}, {0}0)"])
def test_biases_fuse_too(add: str) -> None:
    nodes = []
    for name in "qkv":
        nodes += [f"{name}0 = MatMul(x, w_{name})", f"{name} = {add.format(name)}"]
    text = attention(*nodes)
    check_rewrite(
        FuseProjections(),
        text,
        f"""{NORMS}
        w_q+w_k+w_v [4, 48] = concat(w_q:float32[4,32], w_k:float32[4,8], w_v:float32[4,8], axis=1)
        b_q+b_k+b_v [48] = concat(b_q:float32[32], b_k:float32[8], b_v:float32[8], axis=0)
        q.joined = MatMul(x, w_q+w_k+w_v)
        q.biased = Add(q.joined, b_q+b_k+b_v)
        q, k, v = Split(q.biased, const.int64.3.32_8_8) axis=-1
        o, k1, v1 = ai.deltaport.GatedAttention(q, k, v, q_norm, k_norm, cos, sin, pk, pv, n, p) \
scale=0.5""",
        ATTENTION_WEIGHTS,
    )
    check_same_results(FuseProjections(), text, ATTENTION_WEIGHTS, attention_inputs())


def test_weights_that_are_stored_narrower_fuse_as_they_are() -> None:
    half = np.dtype(ml_dtypes.bfloat16)
    header, nodes = ATTENTION_HEADER, []
    weights = dict(ATTENTION_WEIGHTS)
    for name, width in (("q", 32), ("k", 8), ("v", 8)):
        header = header.replace(f"float[4,{width}] w_{name}", f"bfloat16[4,{width}] w_{name}")
        header = header.replace("<float[B,T,32]", f"<float[4,{width}] c_{name}, float[B,T,32]")
        weights[f"w_{name}"] = Source(f"w_{name}", (4, width), half)
        nodes += [f"c_{name} = Cast<to = 1>(w_{name})", f"{name} = MatMul(x, c_{name})"]
    text = graph(*nodes, ATTENTION, header=header)
    check_rewrite(
        FuseProjections(),
        text,
        f"""{NORMS}
        w_q+w_k+w_v [4, 48] = concat(w_q:bfloat16[4,32], w_k:bfloat16[4,8], w_v:bfloat16[4,8], \
axis=1)
        w_q+w_k+w_v.cast = Cast(w_q+w_k+w_v) to=1
        q.joined = MatMul(x, w_q+w_k+w_v.cast)
        q, k, v = Split(q.joined, const.int64.3.32_8_8) axis=-1
        o, k1, v1 = ai.deltaport.GatedAttention(q, k, v, q_norm, k_norm, cos, sin, pk, pv, n, p) \
scale=0.5""",
        weights,
    )
    check_same_results(FuseProjections(), text, weights, attention_inputs())


@pytest.mark.parametrize("rule", [RULE, PLAIN])
def test_a_delta_rule_computes_the_same(rule: str) -> None:
    text = graph(QKV, CONV, A, BETA, Z, rule)
    check_same_results(FuseProjections(), text, RULE_WEIGHTS, rule_inputs())


def wider(value: str) -> str:
    return RULE_HEADER.replace("=> (", f"=> (float[B,T,{value}] w, ")


ELSEWHERE = RULE_HEADER.replace("(float[B,T,4] x", "(float[B,T,4] x, float[B,T,4] x2")
REFUSALS = {
    "one is no product": graph(QKV, CONV, A, "b = Relu(a2)", Z, RULE,
        header=RULE_HEADER.replace("(float[B,T,4] x", "(float[B,T,4] x, float[B,T,2] a2")),
    "one is of another activation": graph(QKV, CONV, A, "b = MatMul(x2, w_b)", Z, RULE,
        header=ELSEWHERE),
    "one is read elsewhere": graph(QKV, CONV, A, BETA, Z, RULE, "w = Relu(z)", header=wider("12")),
    "what is convolved is read elsewhere": graph(QKV, CONV, A, BETA, Z, RULE, "w = Relu(qkv)",
        header=wider("20")),
    "the convolution is read elsewhere": graph(QKV, CONV, A, BETA, Z, RULE, "w = Relu(mixed)",
        header=wider("20")),
    "one is both a and b": graph(QKV, CONV, A, Z, RULE.replace("a, b,", "a, a,")),
    "a weight is read elsewhere": graph(QKV, CONV, A, BETA, Z, RULE, "w = MatMul(x, w_z)",
        header=wider("12")),
    "another domain": graph(QKV, CONV, A, BETA, Z, RULE.replace("ai.deltaport.Gated",
        "other.Gated")),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    check_refusal(FuseProjections(), text, RULE_WEIGHTS)


NOT_ALIKE = {
    "one alone has no bias": (*BIASED[:4], "v = MatMul(x, w_v)"),
    "one alone has a bias": (*BIASED[:2], "k = MatMul(x, w_k)", "v = MatMul(x, w_v)"),
    "a product with a bias is read elsewhere": (*BIASED, "more = Relu(v0)"),
    "one bias serves two": (*BIASED[:4], "v0 = MatMul(x, w_v)", "v = Add(v0, b_k)"),
    "what is added is no bias": (*BIASED[:4], "v0 = MatMul(x, w_v)", "v = Add(v0, k0)"),
}


@pytest.mark.parametrize("nodes", NOT_ALIKE.values(), ids=NOT_ALIKE)
def test_products_that_are_not_alike_are_left_alone(nodes: tuple[str, ...]) -> None:
    check_refusal(FuseProjections(), attention(*nodes), ATTENTION_WEIGHTS)


def test_a_bias_of_another_width_is_left_alone() -> None:
    text = attention(*BIASED).replace("float[8] b_v", "float[1] b_v")
    check_refusal(FuseProjections(), text, ATTENTION_WEIGHTS | {"b_v": weight("b_v", 1)})


def test_weights_that_are_stored_differently_are_left_alone() -> None:
    half = Source("w_v", (4, 8), np.dtype(np.float16))
    header = ATTENTION_HEADER.replace("float[4,8] w_v", "float16[4,8] w_v")
    header = header.replace("<float[B,T,32]", "<float[4,8] c, float[B,T,32]")
    nodes = (
        "q = MatMul(x, w_q)",
        "k = MatMul(x, w_k)",
        "c = Cast<to = 1>(w_v)",
        "v = MatMul(x, c)",
    )
    text = graph(*nodes, ATTENTION, header=header)
    check_refusal(FuseProjections(), text, ATTENTION_WEIGHTS | {"w_v": half})


def test_a_weight_that_is_computed_is_left_alone() -> None:
    weights = {name: each for name, each in RULE_WEIGHTS.items() if name != "w_z"}
    check_refusal(FuseProjections(), graph(QKV, CONV, A, BETA, Z, RULE), weights)


def test_a_weight_that_is_no_matrix_is_left_alone() -> None:
    text = graph(QKV, CONV, A, BETA, Z, RULE).replace("float[4,12] w_z", "float[1,4,12] w_z")
    check_refusal(FuseProjections(), text, RULE_WEIGHTS | {"w_z": weight("w_z", 1, 4, 12)})


def test_projections_of_two_formats_become_two_products() -> None:
    text = "\n".join([RULE_HEADER, "{", QKV, A, BETA, Z, CONV, RULE, "}"])
    model = parse_graph(text, RULE_WEIGHTS)
    for name in ("w_qkv", "w_z"):
        set_format(model.graph.initializers[name], WeightFormat(8))
    assert FuseProjections()(model).modified
    assert not FuseProjections()(model).modified
    joined = [node.inputs[1] for node in model.graph if node.op_type == "MatMul"]
    assert {value.name: format_of(value) for value in joined if value is not None} == {
        "w_qkv+w_z": WeightFormat(8),
        "w_b+w_a": None,
    }
    assert [node.op_type for node in model.graph].count("Split") == 2
