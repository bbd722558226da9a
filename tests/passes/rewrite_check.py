"""What a pass makes of a graph, side by side as text, and that it computes the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.numerics import Quantity, relative_error, tolerance
from tests.oracles import Array
from tests.passes.expansion_runner import session
from tests.passes.graph_text import lines, parse_graph, print_graph

__all__ = ["check_refusal", "check_rewrite", "check_same_results"]


def check_rewrite(
    graph_pass: GraphPass, before: str, after: str, weights: Mapping[str, Recipe]
) -> ir.Model:
    """The pass turns ``before`` into ``after``, knows every value's type, and has then done all.

    Weights that nothing reads any more are not printed.
    """
    model = parse_graph(before, weights)
    assert graph_pass(model).modified
    EliminateDeadCode()(model)
    assert print_graph(model.graph) == lines(after)
    for node in model.graph:
        for value in node.outputs:
            assert value.dtype is not None, f"{value.name} has no dtype"
            assert value.shape is not None, f"{value.name} has no shape"
    assert not graph_pass(model).modified
    assert print_graph(model.graph) == lines(after)
    return model


def check_refusal(graph_pass: GraphPass, text: str, weights: Mapping[str, Recipe]) -> None:
    """The pass leaves the graph alone."""
    model = parse_graph(text, weights)
    before = print_graph(model.graph)
    assert not graph_pass(model).modified
    assert print_graph(model.graph) == before


def check_same_results(
    graph_pass: GraphPass,
    text: str,
    weights: Mapping[str, Recipe],
    inputs: Mapping[str, Array],
    *,
    seed: int = 0,
) -> None:
    """On random weights the graph gives the same before and after the pass, in float32."""
    rng = np.random.default_rng(seed)
    arrays = {
        recipe.name: (rng.standard_normal(recipe.shape) * 0.3).astype(recipe.dtype)
        for recipe in weights.values()
        if isinstance(recipe, Source)
    }
    results = []
    for passes in ((), (graph_pass,)):
        model = parse_graph(text, weights)
        for each in passes:
            assert each(model).modified
        EliminateDeadCode()(model)
        AttachFunctionBodies()(model)
        results.append(session(model, arrays).run(None, dict(inputs)))
    for found, expected in zip(results[1], results[0], strict=True):
        assert relative_error(found, expected) <= tolerance(Quantity.OUTPUT)
