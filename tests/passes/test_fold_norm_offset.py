"""What is added to a norm's weight is added in its recipe."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from deltaport.graph_passes.fold.fold_norm_offset import FoldNormOffset
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from tests.passes.graph_text import lines, parse_graph, print_graph, weight
from tests.passes.rewrite_check import check_same_results

GRAPH = """g (float[B,3] x, {kind}[3] w) => (float[B,3] y)
    <float one = {{1}}, float[1] half = {{0.5}}> {{
    {nodes}
}}"""

CASES = {
    "weight first": (
        "s = Add(w, one)  y = RMSNormalization(x, s)",
        "shift(w:float32[3], 1.0)",
    ),
    "constant first": (
        "s = Add(one, w)  y = RMSNormalization(x, s)",
        "shift(w:float32[3], 1.0)",
    ),
    "a constant of one element": (
        "s = Add(w, half)  y = RMSNormalization(x, s)",
        "shift(w:float32[3], 0.5)",
    ),
    "a constant that is a node": (
        "c = Constant<value_float = 1.0>()  s = Add(w, c)  y = RMSNormalization(x, s)",
        "shift(w:float32[3], 1.0)",
    ),
    "one after the other": (
        "r = Add(w, one)  s = Add(half, r)  y = RMSNormalization(x, s)",
        "shift(shift(w:float32[3], 1.0), 0.5)",
    ),
}


def folded(text: str, *, modified: bool = True, recipe: Recipe | None = None) -> ir.Model:
    model = parse_graph(text, {"w": recipe or weight("w", 3)})
    assert FoldNormOffset()(model).modified is modified
    once = print_graph(model.graph)
    assert FoldNormOffset()(model).modified is False
    assert print_graph(model.graph) == once
    return model


@pytest.mark.parametrize(("nodes", "recipe"), CASES.values(), ids=CASES)
def test_an_offset_folds(nodes: str, recipe: str) -> None:
    model = folded(GRAPH.format(kind="float", nodes=nodes))
    printed = [line for line in print_graph(model.graph).splitlines() if "Constant" not in line]
    assert printed == [f"w [3] = {recipe}", "y = RMSNormalization(x, w)"]


@pytest.mark.parametrize(("nodes", "recipe"), CASES.values(), ids=CASES)
def test_it_computes_the_same(nodes: str, recipe: str) -> None:
    x = np.random.default_rng(1).standard_normal((4, 3), np.float32)
    text = GRAPH.format(kind="float", nodes=nodes)
    check_same_results(FoldNormOffset(), text, {"w": weight("w", 3)}, {"x": x})


def test_all_who_read_the_sum_read_the_weight() -> None:
    nodes = "s = Add(w, one)  t = RMSNormalization(x, s)  y = Mul(t, s)"
    model = folded(GRAPH.format(kind="float", nodes=nodes))
    assert print_graph(model.graph) == lines(
        """w [3] = shift(w:float32[3], 1.0)
        t = RMSNormalization(x, w)
        y = Mul(t, w)"""
    )


REFUSALS = {
    "another reads the weight": "s = Add(w, one)  t = RMSNormalization(x, s)  y = Mul(t, w)",
    "the sum is of the weight with itself": "s = Add(w, w)  y = RMSNormalization(x, s)",
    "a branch reads the weight": """s = Add(w, one)  t = RMSNormalization(x, s)  y = If (yes) <
        then_branch = p () => (float[3] a) { a = Mul(t, w) },
        else_branch = q () => (float[3] b) { b = Neg(t) }>""",
    "the weight is an output of the graph": "s = Add(w, one)  y = RMSNormalization(x, s)",
    "the sum is an output of the graph": "y = Add(w, one)",
    "another op": "s = Sub(w, one)  y = RMSNormalization(x, s)",
    "another domain's": "s = ai.deltaport.Add(w, one)  y = RMSNormalization(x, s)",
    "no constant is added": "s = Add(w, x)  y = RMSNormalization(x, s)",
    "no weight is added to": "s = Add(one, half)  y = RMSNormalization(x, s)  z = Neg(w)",
    "several numbers are added": "s = Add(w, three)  y = RMSNormalization(x, s)",
    "nothing is added": "s = Add(w, none)  y = RMSNormalization(x, s)",
    "the sum has another shape": "s = Add(w, wide)  y = RMSNormalization(x, s)",
    "infinity is added": """k = Constant<value_float = inf>()  s = Add(w, k)
        y = RMSNormalization(x, s)""",
    "no number is added": """k = Constant<value_float = nan>()  s = Add(w, k)
        y = RMSNormalization(x, s)""",
}
MORE_CONSTANTS = """bool yes = {1}, float[3] three = {1, 1, 1}, float[1,1] wide = {1},
    float[0] none = {}, float one = {1}, float[1] half = {0.5}"""


@pytest.mark.parametrize(("reason", "nodes"), REFUSALS.items(), ids=REFUSALS)
def test_left_alone(reason: str, nodes: str) -> None:
    outputs = "float[3] y" + (", float[3] w" if reason.startswith("the weight is") else "")
    text = f"g (float[3] x, float[3] w) => ({outputs}) <{MORE_CONSTANTS}> {{ {nodes} }}"

    before = print_graph(parse_graph(text, {"w": weight("w", 3)}).graph)
    assert print_graph(folded(text, modified=False).graph) == before


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_weight_that_is_not_float32_is_left_alone(dtype: Any) -> None:
    stored = Source("w", (3,), np.dtype(dtype))
    nodes = "s = Add(w, one)  y = RMSNormalization(x, s)"
    kind = stored.dtype.name
    text = GRAPH.format(kind=kind, nodes=nodes).replace("float one", f"{kind} one")
    folded(text, modified=False, recipe=stored)
    folded(GRAPH.format(kind="float", nodes=nodes), recipe=Cast(stored, np.dtype(np.float32)))
