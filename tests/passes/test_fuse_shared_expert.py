"""The shared expert and its gate join the routed experts."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from deltaport.graph_passes.fuse.fuse_shared_expert import FuseSharedExpert
from deltaport.graph_passes.recipes.layout_recipes import Concat, Transpose
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from tests.passes.graph_text import weight
from tests.passes.rewrite_check import check_refusal, check_rewrite, check_same_results

B, T = 2, 3
HEADER = """g (float[B,T,8] x, float[B,T,4] logits, float[4,6,8] gate_up, float[4,8,3] down,
    float[8,1] w_g, float[8,10] w_gu, float[5,8] w_d, int64[B] n) => (float[B,T,8] y)
    <float[B,T,8] routed, float[B,T,1] g, float[B,T,1] s, float[B,T,10] gu, float[B,T,5] inner,
     float[B,T,8] d, float[B,T,8] shared>"""
ROUTED = "routed = ai.deltaport.SparseMoE<top_k = 2>(x, logits, gate_up, down, n)"
GATE, SIGMOID = "g = MatMul(x, w_g)", "s = Sigmoid(g)"
GATE_UP, SWIGLU = "gu = MatMul(x, w_gu)", "inner = ai.deltaport.SwiGLU(gu)"
DOWN, SCALED, SUM = "d = MatMul(inner, w_d)", "shared = Mul(s, d)", "y = Add(routed, shared)"
ALL = (ROUTED, GATE, SIGMOID, GATE_UP, SWIGLU, DOWN, SCALED, SUM)
WEIGHTS: dict[str, Recipe] = {
    "gate_up": weight("gate_up", 4, 6, 8),
    "down": weight("down", 4, 8, 3),
    "w_g": Transpose(weight("w_g", 1, 8), (1, 0)),
    "w_gu": Concat(
        (Transpose(weight("a", 5, 8), (1, 0)), Transpose(weight("b", 5, 8), (1, 0))), axis=1
    ),
    "w_d": weight("w_d", 5, 8),
}
FUSED = """gate_up [4, 6, 8] = gate_up:float32[4,6,8]
    down [4, 8, 3] = down:float32[4,8,3]
    w_g [1, 8] = w_g:float32[1,8]
    w_gu [10, 8] = concat(a:float32[5,8], b:float32[5,8], axis=0)
    w_d [8, 5] = transpose(w_d:float32[5,8], perm=(1, 0))
    y = ai.deltaport.SharedExpertMoE(x, logits, gate_up, down, w_g, w_gu, w_d, n) top_k=2"""


def graph(*nodes: str, header: str = HEADER) -> str:
    return header + "{\n" + "\n".join(nodes) + "\n}"


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {
        "x": rng.standard_normal((B, T, 8)).astype(np.float32),
        "logits": rng.standard_normal((B, T, 4)).astype(np.float32),
        "n": np.array([T, T], np.int64),
    }


@pytest.mark.parametrize("scaled", ["shared = Mul(s, d)", "shared = Mul(d, s)"])
@pytest.mark.parametrize("total", ["y = Add(routed, shared)", "y = Add(shared, routed)"])
def test_the_shared_expert_joins_the_routed_ones(scaled: str, total: str) -> None:
    check_rewrite(FuseSharedExpert(), graph(*ALL[:-2], scaled, total), FUSED, WEIGHTS)


def test_it_computes_the_same() -> None:
    weights = WEIGHTS | {"w_g": weight("w_g", 8, 1), "w_gu": weight("w_gu", 8, 10)}
    check_same_results(FuseSharedExpert(), graph(*ALL), weights, inputs())


def test_weights_that_are_stored_narrower_join_as_they_are() -> None:
    half = np.dtype(ml_dtypes.bfloat16)
    sizes = {"w_g": (8, 1), "w_gu": (8, 10), "w_d": (5, 8)}
    header, nodes = HEADER, [*ALL]
    for name, (rows, columns) in sizes.items():
        header = header.replace(
            f"float[{rows},{columns}] {name}", f"bfloat16[{rows},{columns}] {name}"
        )
        header = header.replace("<float", f"<float[{rows},{columns}] {name}c, float", 1)
        nodes = [f"{name}c = Cast<to = 1>({name})"] + [
            node.replace(f"{name})", f"{name}c)") for node in nodes
        ]
    weights = WEIGHTS | {name: Source(name, shape, half) for name, shape in sizes.items()}
    text = graph(*nodes, header=header)
    check_rewrite(
        FuseSharedExpert(),
        text,
        """gate_up [4, 6, 8] = gate_up:float32[4,6,8]
        down [4, 8, 3] = down:float32[4,8,3]
        w_g [1, 8] = transpose(w_g:bfloat16[8,1], perm=(1, 0))
        w_gu [10, 8] = transpose(w_gu:bfloat16[8,10], perm=(1, 0))
        w_d [8, 5] = transpose(w_d:bfloat16[5,8], perm=(1, 0))
        y = ai.deltaport.SharedExpertMoE(x, logits, gate_up, down, w_g, w_gu, w_d, n) top_k=2""",
        weights,
    )
    check_same_results(FuseSharedExpert(), text, weights, inputs())


def reading(value: str, width: int) -> str:
    header = HEADER.replace("=> (", f"=> (float[B,T,{width}] w, ")
    return graph(*ALL, f"w = Relu({value})", header=header)


def without(node: str, *others: str, header: str = HEADER) -> str:
    return graph(*(each for old in ALL for each in (others if old == node else (old,))),
                 header=header)  # fmt: skip


X2 = HEADER.replace("(float[B,T,8] x", "(float[B,T,8] x, float[B,T,8] x2")
BIAS = HEADER.replace("(float[B,T,8] x", "(float[B,T,8] x, float[8] c").replace(
    "<float", "<float[B,T,8] d0, float", 1
)
REFUSALS = {
    "routed experts are read elsewhere": reading("routed", 8),
    "the gate's product is read elsewhere": reading("g", 1),
    "the gate is read elsewhere": reading("s", 1),
    "the projections are read elsewhere": reading("gu", 10),
    "what is gated inside is read elsewhere": reading("inner", 5),
    "the expert is read elsewhere": reading("d", 8),
    "the scaled expert is read elsewhere": reading("shared", 8),
    "no sum": without(SUM, "y = Mul(routed, shared)"),
    "another op than the routed experts": without(ROUTED, "routed = Relu(x)"),
    "no scaled expert": without(SCALED, "shared = Add(s, d)"),
    "another gate than a sigmoid": without(SIGMOID, "s = Tanh(g)"),
    "another gate inside": without(SWIGLU, "inner = Relu(gu)"),
    "the gate is no product": without(GATE, "g = ReduceSum(x)"),
    "the projections are no product": without(GATE_UP, "gu = Relu(gu0)",
        header=HEADER.replace("(float", "(float[B,T,10] gu0, float", 1)),
    "the expert is no product": without(DOWN, "d = Relu(x)"),
    "the gate reads another activation": without(GATE, "g = MatMul(x2, w_g)", header=X2),
    "the expert reads another activation": without(GATE_UP, "gu = MatMul(x2, w_gu)", header=X2),
    "the expert has a bias": without(DOWN, "d0 = MatMul(inner, w_d)", "d = Add(d0, c)",
        header=BIAS),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    bias = {"c": weight("c", 8)} if "float[8] c" in text else {}
    check_refusal(FuseSharedExpert(), text, WEIGHTS | bias)


def test_a_gate_of_several_numbers_is_left_alone() -> None:
    text = graph(*ALL).replace("float[8,1] w_g", "float[8,8] w_g").replace("[B,T,1]", "[B,T,8]")
    check_refusal(FuseSharedExpert(), text, WEIGHTS | {"w_g": weight("w_g", 8, 8)})
