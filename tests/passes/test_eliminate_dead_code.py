"""What no output depends on disappears, weights and functions included; the interface stays."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from tests.passes.graph_text import lines, parse_graph, print_graph, weight

CASES = {
    "a node": (
        """g (float[N] x) => (float[N] y) {
            a = Neg(x)
            y = Relu(x)
        }""",
        "y = Relu(x)",
    ),
    "a chain": (
        """g (float[N] x) => (float[N] y) {
            a = Neg(x)
            y = Relu(x)
            b = Add(a, y)
            c = Neg(b)
        }""",
        "y = Relu(x)",
    ),
    "a weight": (
        """g (float[3] x, float[3] w, float[3] v) => (float[3] y) {
            a = Neg(w)
            y = Add(x, v)
        }""",
        """v [3] = v:float32[3]
        y = Add(x, v)""",
    ),
    "a node of ours with several outputs": (
        """g (float[N] x) => (float[N] y) {
            a, b = ai.deltaport.Make(x)
            y = Relu(x)
        }""",
        "y = Relu(x)",
    ),
    "inside a branch": (
        """g (bool c, float[N] x) => (float[N] y) {
            y = If (c) <then_branch = p () => (float[N] s) { a = Neg(x)  s = Relu(x) },
                        else_branch = q () => (float[N] t) { t = Neg(x) }>
        }""",
        "y = If(c) then_branch={s = Relu(x)} else_branch={t = Neg(x)}",
    ),
}

ALIVE = {
    "an output of the graph": """g (float[N] x) => (float[N] y, float[N] z) {
        y = Relu(x)
        z = Neg(y)
    }""",
    "one output of several is read": """g (float[N] x) => (float[N] y) {
        a, b = ai.deltaport.Make(x)
        y = Relu(b)
    }""",
    "an input nobody reads": """g (float[N] x, float[N] z) => (float[N] y) { y = Relu(x) }""",
    "read by a branch alone": """g (bool c, float[3] x, float[3] w) => (float[3] y) {
        a = Neg(w)
        y = If (c) <then_branch = p () => (float[3] s) { s = Relu(a) },
                    else_branch = q () => (float[3] t) { t = Neg(x) }>
    }""",
}

TWO_FUNCTIONS = """g (float[N] x) => (float[N] y) {{
        {dead}
        y = ai.deltaport.Outer(x)
    }}
    <domain: "ai.deltaport", opset_import: ["": 24, "ai.deltaport": 1]>
    Outer (a) => (b) {{ b = ai.deltaport.Inner(a) }}
    <domain: "ai.deltaport", opset_import: ["": 24]>
    Inner (a) => (b) {{ b = Relu(a) }}
    <domain: "ai.deltaport", opset_import: ["": 24]>
    Other (a) => (b) {{ b = Neg(a) }}"""


def eliminated(text: str, *, modified: bool = True) -> ir.Model:
    weights = {name: weight(name, 3) for name in "wv" if f"float[3] {name}" in text}
    model = parse_graph(text, weights)
    assert EliminateDeadCode()(model).modified is modified
    once = print_graph(model.graph)
    assert EliminateDeadCode()(model).modified is False
    assert print_graph(model.graph) == once
    return model


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_the_dead_disappear(text: str, expected: str) -> None:
    assert print_graph(eliminated(text).graph) == lines(expected)


@pytest.mark.parametrize("text", ALIVE.values(), ids=ALIVE)
def test_the_living_stay(text: str) -> None:
    weights = {name: weight(name, 3) for name in "wv" if f"float[3] {name}" in text}
    before = parse_graph(text, weights).graph
    after = eliminated(text, modified=False).graph
    assert print_graph(after) == print_graph(before)
    assert [value.name for value in after.inputs] == [value.name for value in before.inputs]


def test_constants_too() -> None:
    model = eliminated(
        """g (float[3] x) => (float[3] y) <float[3] dead = {1, 2, 3}, float[3] read = {4, 5, 6}> {
            y = Add(x, read)
        }"""
    )
    assert list(model.graph.initializers) == ["read"]


@pytest.mark.parametrize("dead", ["", "z = ai.deltaport.Other(x)"], ids=["none", "dead"])
def test_functions_nobody_calls_disappear(dead: str) -> None:
    model = eliminated(TWO_FUNCTIONS.format(dead=dead))
    assert [name for _, name, _ in model.functions] == ["Outer", "Inner"]
