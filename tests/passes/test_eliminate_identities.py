"""Nodes that only hand on disappear; what a graph gives stays computed in it, once, by name."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.graph_passes.clean.eliminate_identities import EliminateIdentities
from tests.passes.graph_text import lines, parse_graph, print_graph, weight
from tests.passes.rewrite_check import check_same_results

CASES = {
    "read by a node": (
        """g (float[N] x) => (float[N] y) {
            a = Identity(x)
            y = Relu(a)
        }""",
        "y = Relu(x)",
    ),
    "read twice by one node": (
        """g (float[N] x) => (float[N] y) {
            a = Identity(x)
            y = Add(a, a)
        }""",
        "y = Add(x, x)",
    ),
    "a chain": (
        """g (float[N] x) => (float[N] y) {
            a = Identity(x)
            b = Identity(a)
            y = Relu(b)
        }""",
        "y = Relu(x)",
    ),
    "of a weight": (
        """g (float[3] x, float[3] w) => (float[3] y) {
            a = Identity(w)
            y = Add(x, a)
        }""",
        """w [3] = w:float32[3]
        y = Add(x, w)""",
    ),
    "gives an output of the graph": (
        """g (float[N] x) => (float[N] y) {
            a = Relu(x)
            y = Identity(a)
        }""",
        "y = Relu(x)",
    ),
    "gives an output, and others read it": (
        """g (float[N] x) => (float[N] y, float[N] z) {
            a = Relu(x)
            y = Identity(a)
            b = Neg(a)
            z = Add(b, y)
        }""",
        """y = Relu(x)
        b = Neg(y)
        z = Add(b, y)""",
    ),
    "a chain from an input to an output": (
        """g (float[N] x) => (float[N] y) {
            a = Identity(x)
            y = Identity(a)
        }""",
        "y = Identity(x)",
    ),
    "two outputs from one value": (
        """g (float[N] x) => (float[N] y, float[N] z) {
            a = Relu(x)
            y = Identity(a)
            z = Identity(a)
        }""",
        """y = Relu(x)
        z = Identity(y)""",
    ),
    "a subgraph reads it": (
        """g (bool c, float[N] x) => (float[N] y) {
            a = Identity(x)
            y = If (c) <then_branch = p () => (float[N] s) { s = Relu(a) },
                        else_branch = q () => (float[N] t) { t = Neg(a) }>
        }""",
        "y = If(c) then_branch={s = Relu(x)} else_branch={t = Neg(x)}",
    ),
    "inside a subgraph": (
        """g (bool c, float[N] x) => (float[N] y) {
            y = If (c) <then_branch = p () => (float[N] s) { a = Relu(x)  s = Identity(a) },
                        else_branch = q () => (float[N] t) { b = Identity(x)  t = Neg(b) }>
        }""",
        "y = If(c) then_branch={s = Relu(x)} else_branch={t = Neg(x)}",
    ),
}

REFUSALS = {
    "an input is given": """g (float[N] x) => (float[N] y) { y = Identity(x) }""",
    "a weight is given": """g (float[3] w) => (float[3] y) { y = Identity(w) }""",
    "an output is given again": """g (float[N] x) => (float[N] y, float[N] z) {
        y = Relu(x)
        z = Identity(y)
    }""",
    "a branch gives what is computed outside": """g (bool c, float[N] x) => (float[N] y) {
        a = Relu(x)
        y = If (c) <then_branch = p () => (float[N] s) { s = Identity(a) },
                    else_branch = q () => (float[N] t) { t = Neg(a) }>
    }""",
    "another domain's": """g (float[N] x) => (float[N] y) {
        a = ai.deltaport.Identity(x)
        y = Relu(a)
    }""",
    "another op": """g (float[N] x) => (float[N] y) {
        a = Abs(x)
        y = Relu(a)
    }""",
}


def eliminated(text: str, *, modified: bool = True) -> ir.Model:
    model = parse_graph(text, {"w": weight("w", 3)} if " w" in text else {})
    assert EliminateIdentities()(model).modified is modified
    once = print_graph(model.graph)
    assert EliminateIdentities()(model).modified is False
    assert print_graph(model.graph) == once
    return model


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_whoever_reads_a_copy_reads_the_original(text: str, expected: str) -> None:
    outputs = [value.name for value in parse_graph(text).graph.outputs]
    model = eliminated(text)
    assert print_graph(model.graph) == lines(expected)
    assert [value.name for value in model.graph.outputs] == outputs


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_it_computes_the_same(text: str, expected: str) -> None:
    given = {"x": np.array([-1, 0, 2], np.float32), "c": np.array(True)}
    inputs = {name: given[name] for name in ("x", "c")[: 1 + ("bool c" in text)]}
    weights = {"w": weight("w", 3)} if " w" in text else {}
    check_same_results(EliminateIdentities(), text, weights, inputs)


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    before = print_graph(eliminated(text, modified=False).graph)
    weights = {"w": weight("w", 3)} if " w" in text else {}
    assert before == print_graph(parse_graph(text, weights).graph)


def test_what_is_known_of_the_copy_is_kept() -> None:
    model = eliminated(
        """g (float[N] x) => (float[N,4] y) <float[N,2] b> {
            a = ai.deltaport.Make(x)
            b = Identity(a)
            c = ai.deltaport.Make(b)
            y = Identity(c)
        }"""
    )
    first, second = (node.outputs[0] for node in model.graph)
    assert (first.name, first.dtype, str(first.shape)) == ("a", ir.DataType.FLOAT, "[N,2]")
    assert (second.name, second.dtype, str(second.shape)) == ("y", ir.DataType.FLOAT, "[N,4]")


def test_what_is_known_of_the_original_is_not_overwritten() -> None:
    model = eliminated(
        """g (float[3] x) => (float[3] y) <float[N] a> {
            a = Identity(x)
            y = Relu(a)
        }"""
    )
    assert str(model.graph.inputs[0].shape) == "[3]"
