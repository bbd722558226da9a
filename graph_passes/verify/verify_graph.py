"""Prove a graph well-formed and well-typed."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes  # noqa: F401 NumPy knows bfloat16 by it
import numpy as np
import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.decoder_layout import LAYOUT_KEY, layout_of
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.verify.backend_calls import check_backend_call
from deltaport.graph_passes.verify.backend_signatures import SIGNATURES
from deltaport.graph_passes.verify.faults import PASS_NAME, fault
from deltaport.graph_passes.verify.own_calls import check_function, check_own_call
from deltaport.graph_passes.verify.recipe_checks import check_weight
from deltaport.graph_passes.verify.standard_calls import StandardCalls
from deltaport.graph_passes.verify.structure import check_structure
from deltaport.graph_passes.verify.tensor_types import TypeTable

__all__ = ["VerifyGraph"]


@dataclass(frozen=True)
class VerifyGraph(GraphPass):
    """Everything a graph says of itself is true.

    1. Names are unique, values are there before they are read, outputs are given, nothing dangles.
    2. Calls are of ops we know, with the inputs, outputs and attributes those have: standard ops by
       ONNX's schemas, ours by their definitions, those of backends by a table.
    3. Dtypes and known sizes of what nodes give are those their inputs make.
    4. Weights are what their recipes make, and recipes are well-typed.
    5. Functions of our domain have the interface of their op.

    Bodies of functions and subgraphs are checked for structure alone. No weight is evaluated.
    """

    name = PASS_NAME

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Raise ``PassError`` at the first fault."""
        graph = model.graph
        check_structure(graph)
        types, activation = TypeTable(), _activation_dtype(model)
        for value in graph.inputs:
            types.add(value, "graph input")
        for value in graph.initializers.values():
            check_weight(value)
            if not value.is_graph_input():
                types.add(value, "initializer")
        standard = StandardCalls(graph.opset_imports.get("", 0))
        for node in graph:
            if node.domain not in graph.opset_imports:
                raise fault(f"domain {node.domain} is not imported", node)
            if node.domain == "":
                standard.check(node, types)
            elif node.domain == DOMAIN:
                check_own_call(node, types, activation)
            elif node.domain in SIGNATURES:
                check_backend_call(node, types)
            else:
                raise fault(f"domain {node.domain} is none of ours", node)
        for function in model.functions.values():
            check_function(function)
        return ir.passes.PassResult(model, modified=False)


def _activation_dtype(model: ir.Model) -> ir.DataType:
    """What the graph computes in: caches and windows hold activations."""
    if LAYOUT_KEY not in model.metadata_props:
        return ir.DataType.FLOAT
    return ir.DataType.from_numpy(np.dtype(layout_of(model).activation_dtype))
