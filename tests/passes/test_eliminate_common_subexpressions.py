"""What is computed twice is computed once; what only looks the same is not touched."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from deltaport.graph_passes.clean.eliminate_common_subexpressions import (
    EliminateCommonSubexpressions,
)
from tests.passes.graph_text import lines, parse_graph, print_graph, weight

CASES = {
    "the same op on the same value": (
        """g (float[N] x) => (float[N] y) {
            a = Relu(x)
            b = Relu(x)
            y = Add(a, b)
        }""",
        """a = Relu(x)
        y = Add(a, a)""",
    ),
    "whole chains": (
        """g (float[N] x) => (float[N] y) {
            a = Relu(x)
            b = Relu(x)
            c = Softmax<axis = 0>(a)
            d = Softmax<axis = 0>(b)
            y = Add(c, d)
        }""",
        """a = Relu(x)
        c = Softmax(a) axis=0
        y = Add(c, c)""",
    ),
    "constants": (
        """g (float[N] x) => (float[N] y) {
            a = Constant<value_ints = [1, 2]>()
            b = Constant<value_ints = [1, 2]>()
            c = Expand(x, a)
            y = Expand(c, b)
        }""",
        """a = Constant() value_ints=[1, 2]
        c = Expand(x, a)
        y = Expand(c, a)""",
    ),
    "ours, with several outputs": (
        """g (float[N] x) => (float[N] y) {
            a, b = ai.deltaport.Make<top_k = 2>(x)
            c, d = ai.deltaport.Make<top_k = 2>(x)
            y = Sum(a, b, c, d)
        }""",
        """a, b = ai.deltaport.Make(x) top_k=2
        y = Sum(a, b, a, b)""",
    ),
    "an output of the graph": (
        """g (float[N] x) => (float[N] y, float[N] z) {
            a = Relu(x)
            z = Neg(a)
            y = Relu(x)
        }""",
        """y = Relu(x)
        z = Neg(y)""",
    ),
    "two outputs of the graph": (
        """g (float[N] x) => (float[N] y, float[N] z) {
            y = Relu(x)
            z = Relu(x)
        }""",
        """y = Relu(x)
        z = Identity(y)""",
    ),
}

REFUSALS = {
    "another op": ("Relu(x)", "Neg(x)"),
    "another domain": ("Relu(x)", "ai.deltaport.Relu(x)"),
    "another input": ("Relu(x)", "Relu(x2)"),
    "inputs in another order": ("Sub(x, x2)", "Sub(x2, x)"),
    "another attribute": ("Softmax<axis = 0>(x)", "Softmax<axis = -1>(x)"),
    "an attribute more": ("Softmax(x)", "Softmax<axis = 0>(x)"),
    "another weight of the same shape": ("Add(x, w)", "Add(x, v)"),
    "chance": ("RandomUniformLike<seed = 1.0>(x)", "RandomUniformLike<seed = 1.0>(x)"),
    "branches": tuple(
        f"""If (c) <then_branch = p{i} () => (float[3] s) {{ s = Relu(x) }},
                    else_branch = q{i} () => (float[3] t) {{ t = Neg(x) }}>"""
        for i in (1, 2)
    ),
}


def eliminated(text: str, *, modified: bool = True) -> ir.Model:
    weights = {name: weight(name, 3) for name in "wv" if f"float[3] {name}" in text}
    model = parse_graph(text, weights)
    assert EliminateCommonSubexpressions()(model).modified is modified
    once = print_graph(model.graph)
    assert EliminateCommonSubexpressions()(model).modified is False
    assert print_graph(model.graph) == once
    return model


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_the_first_serves_all(text: str, expected: str) -> None:
    outputs = [value.name for value in parse_graph(text).graph.outputs]
    model = eliminated(text)
    assert print_graph(model.graph) == lines(expected)
    assert [value.name for value in model.graph.outputs] == outputs


@pytest.mark.parametrize(("first", "second"), REFUSALS.values(), ids=REFUSALS)
def test_what_differs_stays(first: str, second: str) -> None:
    model = eliminated(
        f"""g (bool c, float[3] x, float[3] x2, float[3] w, float[3] v) => (float[3] y) {{
            a = {first}
            b = {second}
            y = Add(a, b)
        }}""",
        modified=False,
    )
    assert len(model.graph) == 3
