"""A small graph in which verify-graph finds no fault, for tests to break."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir
import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from tests.passes.graph_text import parse_graph, weight

Edit = Callable[[ir.Model], None]

SOUND = """
    g (float[B,T,8] x, float[B,T,8] before, float[8] scale, float[8,6] w, float[3] v)
        => (float[B,T,3] y, float[B,T,8] sum)
    <float[B,T,8] n, float[B,T,6] h, float[B,T,3] s>
    {
        n, sum = ai.deltaport.AddRMSNorm<norm_eps: float = 0.5>(x, before, scale)
        h = MatMul(n, w)
        s = ai.deltaport.SwiGLU(h)
        y = com.microsoft.GatedRMSNorm<epsilon: float = 0.5, activation: string = "silu">(s, v, s)
    }
"""
VECTOR = "n, sum = ai.deltaport.AddRMSNorm<norm_eps: float = 0.5>(x, before, scale)"
WEIGHTS = {"w": weight("w", 8, 6), "v": weight("v", 3)}


def parsed(text: str = SOUND, weights: Mapping[str, Recipe] = WEIGHTS) -> ir.Model:
    model = parse_graph(text, weights)
    model.graph.opset_imports["com.microsoft"] = 1
    return model


def fault_of(model: ir.Model) -> str:
    """What verify-graph says of a graph that is wrong, less its own name."""
    with pytest.raises(PassError) as caught:
        VerifyGraph()(model)
    name, _, message = str(caught.value).partition(": ")
    assert name == "verify-graph"
    assert "\n" not in message
    return message


def node_of(model: ir.Model, op_type: str) -> ir.Node:
    return next(node for node in model.graph if node.op_type == op_type)
