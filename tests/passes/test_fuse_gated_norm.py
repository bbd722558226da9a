"""The norm of each value head, and its gate, join the gated delta rule."""

from __future__ import annotations

import numpy as np
import pytest

from deltaport.graph_passes.fuse.fuse_gated_norm import FuseGatedNorm
from tests.passes.graph_text import weight
from tests.passes.rewrite_check import check_refusal, check_rewrite, check_same_results

B, T = 2, 5
HEADER = """g (float[B,T,20] qkv, float[B,T,2] a, float[B,T,2] b, float[B,T,12] z,
    float[2] A_log, float[2] dt_bias, float[6] norm, float[B,2,4,6] past, int64[B] n)
    => (float[B,T,12] y, float[B,2,4,6] present)
    <float[B,T,12] o, float[B,T,2,6] heads, float[B,T,2,6] normed, float[B,T,12] flat,
     int64[4] apart = {0, 0, 2, 6}, int64[3] together = {0, 0, 12}>"""
RULE = (
    "o, present = ai.deltaport.GatedDeltaRule<norm_eps = 0.25>(qkv, a, b, A_log, dt_bias, past, n)"
)
SPLIT = "heads = Reshape(o, apart)"
NORM = "normed = RMSNormalization<axis = -1, epsilon = 0.5>(heads, norm)"
JOIN = "flat = Reshape(normed, together)"
GATE = ("s = Sigmoid(z)", "silu = Mul(z, s)", "y = Mul(flat, silu)")
WEIGHTS = {
    "A_log": weight("A_log", 2),
    "dt_bias": weight("dt_bias", 2),
    "norm": weight("norm", 6),
}
FUSED = """A_log [2] = A_log:float32[2]
    dt_bias [2] = dt_bias:float32[2]
    norm [6] = norm:float32[6]
    y, present = ai.deltaport.GatedDeltaRuleNorm(qkv, z, a, b, A_log, dt_bias, norm, past, n) \
norm_eps=0.25 output_norm_eps=0.5"""


def graph(*nodes: str, header: str = HEADER) -> str:
    return header + "{\n" + "\n".join(nodes) + "\n}"


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    sizes = {"qkv": (B, T, 20), "a": (B, T, 2), "b": (B, T, 2), "z": (B, T, 12)}
    sizes["past"] = (B, 2, 4, 6)
    found = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    return found | {"n": np.array([T, T], np.int64)}


@pytest.mark.parametrize("silu", ["silu = Mul(z, s)", "silu = Mul(s, z)"])
@pytest.mark.parametrize("last", ["y = Mul(flat, silu)", "y = Mul(silu, flat)"])
def test_norm_and_gate_join_the_rule(silu: str, last: str) -> None:
    text = graph(RULE, SPLIT, NORM, JOIN, "s = Sigmoid(z)", silu, last)
    check_rewrite(FuseGatedNorm(), text, FUSED, WEIGHTS)


def test_attributes_that_are_not_given_have_the_defaults_of_their_ops() -> None:
    text = graph(RULE, SPLIT, NORM, JOIN, *GATE)
    text = text.replace("<norm_eps = 0.25>", "").replace("<axis = -1, epsilon = 0.5>", "")
    expected = FUSED.replace("norm_eps=0.25", "norm_eps=1e-06")
    check_rewrite(
        FuseGatedNorm(),
        text,
        expected.replace("output_norm_eps=0.5", "output_norm_eps=1e-05"),
        WEIGHTS,
    )


def test_it_computes_the_same() -> None:
    text = graph(RULE, SPLIT, NORM, JOIN, *GATE)
    check_same_results(FuseGatedNorm(), text, WEIGHTS, inputs())


def reading(value: str, kind: str) -> str:
    """The whole graph, and another reader of ``value``."""
    header = HEADER.replace("=> (", f"=> (float{kind} w, ")
    return graph(RULE, SPLIT, NORM, JOIN, *GATE, f"w = Relu({value})", header=header)


REFUSALS = {
    "the read-out is read elsewhere": reading("o", "[B,T,12]"),
    "heads are read elsewhere": reading("heads", "[B,T,2,6]"),
    "the norm is read elsewhere": reading("normed", "[B,T,2,6]"),
    "what is gated is read elsewhere": reading("flat", "[B,T,12]"),
    "the new state is read elsewhere": reading("present", "[B,2,4,6]"),
    "no gate": graph(RULE, SPLIT, NORM, JOIN, "y = Mul(flat, z)"),
    "no joining": graph(RULE, SPLIT, NORM, "flat = Flatten(normed)", *GATE),
    "another norm": graph(RULE, SPLIT, "normed = Mul(heads, norm)", JOIN, *GATE),
    "no heads": graph(RULE, "heads = Flatten(o)", NORM, JOIN, *GATE),
    "another op than the rule": graph("o = Relu(z)", "present = Relu(past)", SPLIT, NORM, JOIN,
        *GATE),
    "a norm over other axes": graph(RULE, SPLIT, NORM.replace("-1", "2"), JOIN, *GATE),
    "heads split in another way": graph(RULE, SPLIT, NORM, JOIN, *GATE,
        header=HEADER.replace("[B,T,2,6]", "[B,T,6,2]").replace("2, 6}", "6, 2}")),
    "a head of several norms": graph(RULE, SPLIT, NORM, JOIN, *GATE,
        header=HEADER.replace("float[6] norm", "float[1] norm")),
    "heads and state of unknown size": graph(RULE, SPLIT, NORM, JOIN, *GATE,
        header=HEADER.replace("float[B,2,4,6] past", "float[B,2,4,D] past").replace(
            "float[B,T,2,6] heads", "float[B,T,2,D] heads").replace(
            "float[6] norm", "float[D] norm")),
    "state of unknown shape": graph(RULE, SPLIT, NORM, JOIN, *GATE,
        header=HEADER.replace("float[B,2,4,6] past", "float past")),
    "heads of unknown size": graph(RULE, SPLIT, NORM, JOIN, *GATE,
        header=HEADER.replace("float[B,2,4,6] past", "float[B,2,4,D] past")),
    "heads joined in another way": graph(RULE, SPLIT, NORM, JOIN, *GATE,
        header=HEADER.replace("float[B,T,12] flat", "float[B,T,2,6] flat")),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    shape = (1,) if "float[1] norm" in text else (6,)
    weights = WEIGHTS | {"norm": weight("norm", *shape)}
    if "float[D] norm" in text:
        del weights["norm"]
    check_refusal(FuseGatedNorm(), text, weights)
