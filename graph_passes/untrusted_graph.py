"""Graphs that somebody else wrote, made sure of before passes look at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
import onnx.checker
import onnx.shape_inference
from onnx import numpy_helper

from deltaport.errors import InputError
from deltaport.strict_json import one_line, quote

__all__ = ["check_graph"]


def check_graph(proto: onnx.ModelProto, source: str) -> None:
    """Refuse what ONNX's checker or shape inference refuse, and tensors in files or without data.

    Raises ``InputError``, which names ``source`` and what is wrong.
    """
    for tensor in _tensors(proto):
        _check_tensor(tensor, source)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = one_line(" ".join(str(error).split()))[:300]
        raise InputError(f"{source}: no valid graph: {reason}") from None


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Everything with a value, inside subgraphs and functions too."""
    yield from _tensors_of_graph(proto.graph)
    for function in proto.functions:
        yield from _tensors_of_attributes(function.attribute_proto)
        for node in function.node:
            yield from _tensors_of_attributes(node.attribute)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_attributes(node.attribute)


def _tensors_of_attributes(
    attributes: Iterable[onnx.AttributeProto],
) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        yield from ([attribute.t] if attribute.HasField("t") else attribute.tensors)
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            yield from _tensors_of_graph(graph)


def _check_tensor(tensor: onnx.TensorProto, source: str) -> None:
    where = f"{source}: tensor {quote(tensor.name)}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise InputError(f"{where}: refers to a file; only weights of the main graph have recipes")
    try:
        numpy_helper.to_array(tensor)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        reason = one_line(str(error).partition("\n")[0])[:200]
        raise InputError(f"{where}: holds other data than it declares: {reason}") from None
