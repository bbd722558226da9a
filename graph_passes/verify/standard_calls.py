"""Check calls of standard ops against ONNX's own schemas."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper, shape_inference

from deltaport.graph_passes.rewriting import constant_of
from deltaport.graph_passes.verify.faults import fault
from deltaport.graph_passes.verify.tensor_types import TensorType, TypeTable, declared_shape

__all__ = ["StandardCalls"]

_Key = tuple[bytes, tuple[TensorType | None, ...], tuple[bytes | None, ...]]


class StandardCalls:
    """The standard ops of one opset; what a call gives is worked out once for all like it."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._known: dict[_Key, list[TensorType | None]] = {}

    def check(self, node: ir.Node, types: TypeTable) -> None:
        """Raise ``PassError`` where a call is not what the op's schema says.

        ``types`` has those of the inputs, and is given those of the outputs. What a node with
        subgraphs gives is taken as it is declared.
        """
        schema = self._schema(node)
        _check_counts(node, schema)
        _check_attributes(node, schema)
        inferred: Sequence[TensorType | None] = [None] * len(node.outputs)
        if not any(each.type == ir.AttributeType.GRAPH for each in node.attributes.values()):
            inferred = self._inferred(node, schema, types)
        for position, (output, found) in enumerate(zip(node.outputs, inferred, strict=True)):
            if output.name:
                types.add(output, f"output {position}", node, found)

    def _schema(self, node: ir.Node) -> onnx.defs.OpSchema:
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opset, node.domain)
        except onnx.defs.SchemaError:
            raise fault(f"is no op of opset {self._opset}", node) from None
        if schema.deprecated:
            raise fault(f"is deprecated in opset {self._opset}", node)
        return schema

    def _inferred(
        self, node: ir.Node, schema: onnx.defs.OpSchema, types: TypeTable
    ) -> list[TensorType | None]:
        proto = onnx.NodeProto(op_type=node.op_type, domain=node.domain)
        proto.input.extend("" if v is None else f"i{i}" for i, v in enumerate(node.inputs))
        proto.output.extend(f"o{i}" if v.name else "" for i, v in enumerate(node.outputs))
        proto.attribute.extend(map(ir.serde.serialize_attribute, node.attributes.values()))
        given = [None if value is None else types[value] for value in node.inputs]
        constants = [constant_of(value) for value in node.inputs]
        data = [None if each is None else each.tobytes() for each in constants]
        key = proto.SerializeToString(deterministic=True), tuple(given), tuple(data)
        if key not in self._known:
            tensors = {
                f"i{i}": numpy_helper.from_array(array, f"i{i}")
                for i, array in enumerate(constants)
                if array is not None
            }
            protos = {f"i{i}": _type_proto(each) for i, each in enumerate(given) if each}
            try:
                found = shape_inference.infer_node_outputs(
                    schema, proto, protos, tensors,
                    opset_imports=[helper.make_opsetid(node.domain, self._opset)],
                )  # fmt: skip
            except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
                raise fault(str(error).strip().splitlines()[-1], node) from None
            self._known[key] = [_tensor_type(found.get(name)) for name in proto.output]
        return self._known[key]


def _check_counts(node: ir.Node, schema: onnx.defs.OpSchema) -> None:
    for what, values, least, most in (
        ("inputs", node.inputs, schema.min_input, schema.max_input),
        ("outputs", node.outputs, schema.min_output, schema.max_output),
    ):
        if not least <= len(values) <= most:
            raise fault(f"has {len(values)} {what}, expected {least} to {most}", node)
    for position, value in enumerate(node.inputs[: schema.min_input]):
        if value is None:
            raise fault(f"input {position} is missing", node)


def _check_attributes(node: ir.Node, schema: onnx.defs.OpSchema) -> None:
    for name, attribute in node.attributes.items():
        if name not in schema.attributes:
            raise fault(f"attribute {name} is unknown", node)
        expected = ir.AttributeType[str(schema.attributes[name].type).rpartition(".")[2]]
        if attribute.type != expected:
            raise fault(f"attribute {name} is {attribute.type}, expected {expected}", node)
    for name, wanted in schema.attributes.items():
        if wanted.required and name not in node.attributes:
            raise fault(f"attribute {name} is missing", node)


def _type_proto(known: TensorType) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(known.dtype.value, known.shape)


def _tensor_type(proto: onnx.TypeProto | None) -> TensorType | None:
    if proto is None or not proto.HasField("tensor_type"):
        return None
    shape = ir.serde.deserialize_type_proto_for_shape(proto)
    dtype = ir.DataType(proto.tensor_type.elem_type)
    value = ir.Value(name="", shape=shape)
    return TensorType(dtype, declared_shape(value))
