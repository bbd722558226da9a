"""Gate and up projections become one product, and their gate one op."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from deltaport.graph_passes.fuse.fuse_gate_up import FuseGateUp
from deltaport.graph_passes.recipes.recipe import Source
from tests.passes.graph_text import weight
from tests.passes.rewrite_check import check_refusal, check_rewrite, check_same_results

HEADER = """g (float[B,T,4] x, float[4,6] m.gate.w, float[4,6] m.up.w) => (float[B,T,6] y)
    <float[B,T,6] gate, float[B,T,6] up>"""
GATE = "gate = MatMul(x, m.gate.w)"
UP = "up = MatMul(x, m.up.w)"
SIGMOID, SILU, GATED = "s = Sigmoid(gate)", "silu = Mul(gate, s)", "y = Mul(silu, up)"
WEIGHTS = {"m.gate.w": weight("a", 4, 6), "m.up.w": weight("b", 4, 6)}
FUSED = """m.gate+up.w [4, 12] = concat(a:float32[4,6], b:float32[4,6], axis=1)
    gate.joined = MatMul(x, m.gate+up.w)
    y = ai.deltaport.SwiGLU(gate.joined)"""


def graph(*nodes: str, header: str = HEADER) -> str:
    return quoted(header + "{\n" + "\n".join(nodes) + "\n}")


def quoted(text: str) -> str:
    """Names with dots, as ONNX text wants them."""
    for name in ("m.gate.w", "m.up.w"):
        text = text.replace(name, f'"{name}"')
    return text


@pytest.mark.parametrize("silu", ["silu = Mul(gate, s)", "silu = Mul(s, gate)"])
@pytest.mark.parametrize("gated", ["y = Mul(silu, up)", "y = Mul(up, silu)"])
@pytest.mark.parametrize("first", ["gate", "up"])
def test_gate_and_up_fuse_in_any_order(silu: str, gated: str, first: str) -> None:
    products = (GATE, UP) if first == "gate" else (UP, GATE)
    check_rewrite(FuseGateUp(), graph(*products, SIGMOID, silu, gated), FUSED, WEIGHTS)


def test_weights_that_are_stored_narrower_fuse_too() -> None:
    half = np.dtype(ml_dtypes.bfloat16)
    weights = {"m.gate.w": Source("a", (4, 6), half), "m.up.w": Source("b", (4, 6), half)}
    header = HEADER.replace("float[4,6]", "bfloat16[4,6]").replace(
        "<float", "<float[4,6] gw, float[4,6] uw, float"
    )
    text = graph(
        "gw = Cast<to = 1>(m.gate.w)",
        "gate = MatMul(x, gw)",
        "uw = Cast<to = 1>(m.up.w)",
        "up = MatMul(x, uw)",
        *(SIGMOID, SILU, GATED),
        header=header,
    )
    check_rewrite(
        FuseGateUp(),
        text,
        """m.gate+up.w [4, 12] = concat(a:bfloat16[4,6], b:bfloat16[4,6], axis=1)
        m.gate+up.w.cast = Cast(m.gate+up.w) to=1
        gate.joined = MatMul(x, m.gate+up.w.cast)
        y = ai.deltaport.SwiGLU(gate.joined)""",
        weights,
    )
    x = np.random.default_rng(1).standard_normal((2, 3, 4), np.float32)
    check_same_results(FuseGateUp(), text, weights, {"x": x})


def test_it_computes_the_same() -> None:
    x = np.random.default_rng(2).standard_normal((2, 5, 4), np.float32)
    text = graph(GATE, UP, SIGMOID, SILU, GATED)
    check_same_results(FuseGateUp(), text, WEIGHTS, {"x": x})


def wide(text: str) -> str:
    return text.replace("=> (", "=> (float[B,T,6] w, ")


REFUSALS = {
    "another gate than SiLU": graph(GATE, UP, "s = Tanh(gate)", SILU, GATED),
    "the sigmoid of something else": graph(GATE, UP, "s = Sigmoid(up)", SILU, GATED),
    "a sum, no product": graph(GATE, UP, SIGMOID, SILU, "y = Add(silu, up)"),
    "a sum inside": graph(GATE, UP, SIGMOID, "silu = Add(gate, s)", GATED),
    "gate is no product": graph("gate = Identity(z)", UP, SIGMOID, SILU, GATED,
        header=HEADER.replace("(float", "(float[B,T,6] z, float", 1)),
    "up is no product": graph(GATE, "up = Identity(z)", SIGMOID, SILU, GATED,
        header=HEADER.replace("(float", "(float[B,T,6] z, float", 1)),
    "up of another activation": graph(GATE, "up = MatMul(z, m.up.w)", SIGMOID, SILU, GATED,
        header=HEADER.replace("(float", "(float[B,T,4] z, float", 1)),
    "gate is read elsewhere": graph(GATE, UP, SIGMOID, SILU, GATED, "w = Relu(gate)",
        header=wide(HEADER)),
    "up is read elsewhere": graph(GATE, UP, SIGMOID, SILU, GATED, "w = Relu(up)",
        header=wide(HEADER)),
    "silu is read elsewhere": graph(GATE, UP, SIGMOID, SILU, GATED, "w = Relu(silu)",
        header=wide(HEADER)),
    "the sigmoid is read elsewhere": graph(GATE, UP, SIGMOID, SILU, GATED, "w = Relu(s)",
        header=wide(HEADER)),
    "up is a graph output": graph(GATE, UP, SIGMOID, SILU, GATED,
        header=HEADER.replace("=> (", "=> (float[B,T,6] up, ").replace(", float[B,T,6] up>", ">")),
    "a weight is read elsewhere": graph(GATE, UP, SIGMOID, SILU, GATED, "w = MatMul(y2, m.up.w)",
        header=wide(HEADER).replace("(float", "(float[B,T,4] y2, float", 1)),
    "gate and up are one": graph(GATE, SIGMOID, SILU, "y = Mul(silu, gate)",
        header=HEADER.replace(", float[B,T,6] up", "")),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    check_refusal(FuseGateUp(), text, WEIGHTS)


def test_a_bias_is_left_alone() -> None:
    header = HEADER.replace("=>", ", float[6] c, float[6] d =>").replace(") ,", ",")
    header = header.replace(", float[4,6] m.up.w)", ", float[4,6] m.up.w").replace("d =>", "d) =>")
    header = header.replace("<", "<float[B,T,6] g0, float[B,T,6] u0, ")
    text = graph(
        "g0 = MatMul(x, m.gate.w)",
        "gate = Add(g0, c)",
        "u0 = MatMul(x, m.up.w)",
        "up = Add(u0, d)",
        *(SIGMOID, SILU, GATED),
        header=header,
    )
    biases = {"c": weight("c", 6), "d": weight("d", 6)}
    check_refusal(FuseGateUp(), text, WEIGHTS | biases)


@pytest.mark.parametrize("shape", [(4, 1), (4, 12)])
def test_projections_of_different_widths_are_left_alone(shape: tuple[int, int]) -> None:
    text = graph(GATE, UP, SIGMOID, SILU, GATED).replace(
        'float[4,6] "m.up.w"', f'float[4,{shape[1]}] "m.up.w"'
    )
    check_refusal(FuseGateUp(), text, WEIGHTS | {"m.up.w": weight("b", *shape)})


def test_weights_that_are_stored_differently_are_left_alone() -> None:
    header = HEADER.replace("float[4,6] m.gate.w", "bfloat16[4,6] m.gate.w")
    text = graph(
        "gw = Cast<to = 1>(m.gate.w)", "gate = MatMul(x, gw)", UP, SIGMOID, SILU, GATED,
        header=header.replace("<float", "<float[4,6] gw, float"),
    )  # fmt: skip
    half = Source("a", (4, 6), np.dtype(ml_dtypes.bfloat16))
    check_refusal(FuseGateUp(), text, WEIGHTS | {"m.gate.w": half})


def test_weights_that_are_computed_are_left_alone() -> None:
    text = graph(GATE, UP, SIGMOID, SILU, GATED)
    check_refusal(FuseGateUp(), text, {"m.gate.w": WEIGHTS["m.gate.w"]})
