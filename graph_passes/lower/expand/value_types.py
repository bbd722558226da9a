"""Dtypes and shapes of what standard nodes and those of a backend's own ops give."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper, shape_inference

from deltaport.errors import PassError
from deltaport.graph_passes.rewriting import constant_of, read_by

__all__ = ["CONTRIB", "LIKE_INPUT", "TENSORRT", "set_types"]

CONTRIB = "com.microsoft"
"""The domain of onnxruntime's own ops, version 1."""
TENSORRT = "trt"
"""The domain of ops that TensorRT's parser makes layers of, version 1."""

LIKE_INPUT: Mapping[str, Mapping[str, tuple[int | None, ...]]] = {
    CONTRIB: {
        "CausalConvWithState": (0, 3),
        "GatedRMSNorm": (0,),
        "GroupQueryAttention": (0, 3, 4),
        "LinearAttention": (2, 3),
        "MoE": (0,),
        "SkipSimplifiedLayerNormalization": (0, None, None, 0),
    },
    TENSORRT: {
        "TRT_Attention": (0,),
        "TRT_KVCacheUpdate": (0,),
    },
}
"""Per op, which input each output has the dtype and shape of; None where it is not given.

True of ``LinearAttention`` with at most as many query heads as value heads, and of
``GroupQueryAttention`` with caches that have room for the new tokens.
"""


def set_types(node: ir.Node, opset: int) -> None:
    """Give the outputs of ``node`` dtype and shape; its inputs must have theirs.

    Raises ``PassError`` where they cannot be told: templates are made so that they can.
    """
    if node.domain in LIKE_INPUT:
        likes = LIKE_INPUT[node.domain][node.op_type]
        for output, position in zip(node.outputs, likes, strict=False):
            like = None if position is None else node.inputs[position]
            if like is not None:
                output.type, output.shape = like.type, like.shape
        return
    if node.op_type == "If":  # as its branches are declared: inference does not look into them
        for output, branch in zip(
            node.outputs, node.attributes["then_branch"].as_graph().outputs, strict=True
        ):
            output.type, output.shape = branch.type, branch.shape
        return
    proto = onnx.NodeProto()
    ir.serde.serialize_node_into(proto, node)
    types, constants = {}, {}
    for value in read_by(node):
        name = str(value.name)
        types[name] = _type_proto(value)
        array = constant_of(value)
        if array is not None:
            constants[name] = numpy_helper.from_array(array, name)
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    opsets = [helper.make_opsetid(node.domain, opset)]
    found = shape_inference.infer_node_outputs(
        schema, proto, types, constants, opset_imports=opsets
    )
    for output in node.outputs:
        if output.name not in found:
            raise PassError(f"{node.op_type} ({output.name}): dtype and shape cannot be told")
        output.type = ir.serde.deserialize_type_proto_for_type(found[output.name])
        output.shape = ir.serde.deserialize_type_proto_for_shape(found[output.name])


def _type_proto(value: ir.Value) -> onnx.TypeProto:
    if value.dtype is None or value.shape is None:
        raise PassError(f"{value.name}: has no dtype or no shape")
    dims = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    return helper.make_tensor_type_proto(value.dtype.value, dims)
