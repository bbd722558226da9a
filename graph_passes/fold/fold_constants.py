"""Compute while compiling what depends on constants alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.rewriting import constant, constant_of

__all__ = ["FoldConstants"]

_NO_LARGER = {
    "Cast",
    "Concat",
    "Constant",
    "Identity",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""Ops that give no more elements than they are given, so that no shape need bound them."""
_RANDOM = {"Bernoulli", "Multinomial"}
"""Ops that give something else every time, besides those whose names begin with Random."""


@dataclass(frozen=True)
class FoldConstants(GraphPass):
    """Turn what is constant into constants of the graph, the same one for the same values.

    1. ``Constant()``                 becomes a constant
    2. ``Op(constant, constant)``     becomes what the op makes of them

    Left alone are ops of other domains, with subgraphs, or random; results that are graph outputs,
    text, whose shape is not known, or of more than ``max_bytes``; and whatever depends on a weight,
    however small: weights are recipes, and other passes fold those.
    """

    name = "fold-constants"

    max_bytes: int = 1 << 16

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in one sweep: nodes are in topological order, so chains fold link by link."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fold(model.graph, node)
        return ir.passes.PassResult(model, modified)

    def _try_fold(self, graph: ir.Graph, node: ir.Node) -> bool:
        if node.domain != "" or node.op_type in _RANDOM or node.op_type.startswith("Random"):
            return False
        if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
            return False
        if any(output.is_graph_output() for output in node.outputs):
            return False
        if not all(self._is_small(output) for output in node.outputs):
            return False
        inputs = [constant_of(value) for value in node.inputs]
        absent = [value is None for value in node.inputs]
        if any(array is None and not gone for array, gone in zip(inputs, absent, strict=True)):
            return False

        results = _evaluate(node, inputs, graph.opset_imports[""])
        if any(result.dtype.kind in "OSU" for result in results):
            return False
        for output, result in zip(node.outputs, results, strict=True):
            ir.convenience.replace_all_uses_with(output, constant(graph, result))
        graph.remove(node, safe=True)
        return True

    def _is_small(self, value: ir.Value) -> bool:
        node = value.producer()
        if node is not None and node.op_type in _NO_LARGER:
            return sum(_nbytes(read) for read in node.inputs) <= self.max_bytes
        if value.shape is None or value.dtype is None or not value.shape.is_static():
            return False
        return math.prod(value.shape.numpy()) * value.dtype.itemsize <= self.max_bytes


def _nbytes(value: ir.Value | None) -> int:
    array = constant_of(value)
    return 0 if array is None else array.nbytes


def _evaluate(node: ir.Node, inputs: list[NDArray[Any] | None], opset: int) -> list[NDArray[Any]]:
    """What the node gives, by ONNX's own reference implementation."""
    proto = ir.serde.serialize_node(node)
    given = {
        name: array for name, array in zip(proto.input, inputs, strict=True) if array is not None
    }
    graph = onnx.helper.make_graph(
        [proto],
        "one_node",
        [onnx.helper.make_empty_tensor_value_info(name) for name in given],
        [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    results = ReferenceEvaluator(model).run(None, given)
    return list(results)
