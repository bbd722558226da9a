"""The factor on scores moves into the scale of the query norm."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.graph_passes.fold.fold_query_scale import FoldQueryScale
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from tests.passes.graph_text import lines, parse_graph, print_graph, weight
from tests.passes.rewrite_check import check_same_results

GRAPH = """g (float[B,T,32] q, float[B,T,8] k, float[B,T,8] v, {dtype}[8] q_norm, float[8] k_norm,
    float[B,T,2] cos, float[B,T,2] sin, float[B,1,C,8] pk, float[B,1,C,8] pv,
    int64[B] n, int64[B] p)
    => (float[B,T,16] o, float[B,1,C2,8] k1, float[B,1,C3,8] v1)
{{
    {before}
    {call}(q, k, v, {norms}, cos, sin, pk, pv, n, p)
    {after}
}}"""
CALL = "o, k1, v1 = ai.deltaport.GatedAttention<scale = {}, norm_eps = 0.5>"


def graph(
    *,
    scale: str = "0.25",
    norms: str = "q_norm, k_norm",
    before: str = "",
    after: str = "",
    dtype: str = "float",
    call: str = CALL,
) -> str:
    return GRAPH.format(
        call=call.format(scale), norms=norms, before=before, after=after, dtype=dtype
    )


def folded(text: str, *, modified: bool = True, q_norm: Recipe | None = None) -> ir.Model:
    model = parsed(text, q_norm)
    assert FoldQueryScale()(model).modified is modified
    once = print_graph(model.graph)
    assert FoldQueryScale()(model).modified is False
    assert print_graph(model.graph) == once
    return model


def parsed(text: str, q_norm: Recipe | None = None) -> ir.Model:
    weights = {"q_norm": q_norm or weight("q_norm", 8), "k_norm": weight("k_norm", 8)}
    return parse_graph(text, weights)


def test_a_scale_folds() -> None:
    inputs = "q, k, v, q_norm, k_norm, cos, sin, pk, pv, n, p"
    assert print_graph(folded(graph()).graph) == lines(
        f"""q_norm [8] = scale(q_norm:float32[8], 0.25)
        k_norm [8] = k_norm:float32[8]
        o, k1, v1 = ai.deltaport.GatedAttention({inputs}) scale=1.0 norm_eps=0.5"""
    )


@pytest.mark.parametrize("scale", ["0.25", "1.7", "-0.5"])
def test_it_computes_the_same(scale: str) -> None:
    rng = np.random.default_rng(3)
    shapes = {"q": (2, 3, 32), "k": (2, 3, 8), "v": (2, 3, 8), "cos": (2, 3, 2), "sin": (2, 3, 2)}
    shapes |= {"pk": (2, 1, 9, 8), "pv": (2, 1, 9, 8)}
    inputs = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    inputs |= {"n": np.array([3, 2]), "p": np.array([4, 1])}
    weights = {"q_norm": weight("a", 8), "k_norm": weight("b", 8)}
    check_same_results(FoldQueryScale(), graph(scale=scale), weights, inputs)


def test_every_layer_folds_its_own() -> None:
    second = """a, b, c = ai.deltaport.GatedAttention<scale = 0.5>(
        o, k, v, k_norm, other, cos, sin, k1, v1, n, p)"""
    model = folded(graph(before="other = Neg(cos)", norms="q_norm, other", after=second))
    assert print_graph(model.graph).splitlines()[:2] == [
        "q_norm [8] = scale(q_norm:float32[8], 0.25)",
        "k_norm [8] = scale(k_norm:float32[8], 0.5)",
    ]
    layers = [node for node in model.graph if node.op_type == "GatedAttention"]
    assert [node.attributes["scale"].as_float() for node in layers] == [1.0, 1.0]


REFUSALS = {
    "it is 1 already": graph(scale="1.0"),
    "another node reads the norm's scale": graph(after="z = Neg(q_norm)"),
    "the key norm has the same one": graph(norms="q_norm, q_norm"),
    "the norm's scale is computed": graph(norms="s, k_norm", before="s = Neg(q_norm)"),
    "another domain's": graph(call=CALL.replace("ai.deltaport.", "")),
    "another op": graph(call=CALL.replace("GatedAttention", "Attention")),
}


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    before = print_graph(parsed(text).graph)
    assert print_graph(folded(text, modified=False).graph) == before


def test_a_norm_that_is_not_float32_is_left_alone() -> None:
    stored = Source("q_norm", (8,), np.dtype(np.float16))
    folded(graph(dtype="float16"), modified=False, q_norm=stored)
