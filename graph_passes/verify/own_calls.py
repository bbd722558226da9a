"""Check calls of our ops, and functions that carry them out, against the ops' definitions."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN, OpDefinition, Port
from deltaport.graph_passes.verify.faults import fault
from deltaport.graph_passes.verify.named_sizes import PortShape, contradiction
from deltaport.graph_passes.verify.tensor_types import TypeTable

__all__ = ["check_function", "check_own_call"]

_DTYPES = {
    "int64": (ir.DataType.INT64,),
    "uint8": (ir.DataType.UINT8,),
    "bfloat16": (ir.DataType.BFLOAT16,),
    "T": (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16),
}
"""What a port's dtype allows; every ``T`` is one of its own, as checkpoints mix dtypes.

A ``float`` is of the dtype the graph's activations have, where its op does not keep it float32.
"""
_OF_PLUGINS = ("plugin_namespace", "plugin_version")
"""Attributes that a call may have besides: TensorRT looks its plugin up by them."""
_PLUGIN_DTYPES = _DTYPES | {"uint8": (ir.DataType.INT8,)}
"""What a port's dtype allows in such a call."""
_ATTRIBUTES = {"float": ir.AttributeType.FLOAT, "int": ir.AttributeType.INT}


def check_own_call(node: ir.Node, types: TypeTable, activation: ir.DataType) -> None:
    """Raise ``PassError`` where a call is not what the op's definition says.

    ``types`` has those of the inputs, and is given those of the outputs: as declared.
    ``activation`` is the dtype the graph computes in.
    """
    definition = _definition(node.op_type, node)
    for what, ports, values in (
        ("inputs", definition.inputs, node.inputs),
        ("outputs", definition.outputs, node.outputs),
    ):
        if len(values) != len(ports):
            raise fault(f"has {len(values)} {what}, expected {len(ports)}", node)
    _check_attributes(node, definition)
    dtypes = _PLUGIN_DTYPES if _OF_PLUGINS[0] in node.attributes else _DTYPES

    def checked(port: Port, value: ir.Value, what: str) -> PortShape:
        allowed = dtypes.get(port.dtype) or (
            ir.DataType.FLOAT if port.name in definition.float32 else activation,
        )
        return _checked(port, value, what, allowed, types, node)

    shapes = []
    for port, read in zip(definition.inputs, node.inputs, strict=True):
        if read is None:
            raise fault(f"input {port.name} is missing", node)
        shapes.append(checked(port, read, "input"))
    for port, output in zip(definition.outputs, node.outputs, strict=True):
        if output.name == "":
            continue
        types.add(output, f"output {port.name}", node)
        shapes.append(checked(port, output, "output"))
    problem = contradiction(shapes)
    if problem is not None:
        raise fault(problem, node)


def check_function(function: ir.Function) -> None:
    """Raise ``PassError`` where a function of our domain has another interface than its op."""
    if function.domain != DOMAIN:
        return
    definition = _definition(function.name)
    for what, ports, values in (
        ("inputs", definition.inputs, function.inputs),
        ("outputs", definition.outputs, function.outputs),
    ):
        found, expected = [value.name for value in values], [port.name for port in ports]
        if found != expected:
            raise fault(f"function {function.name}: {what} are {found}, expected {expected}")
    if set(function.attributes) != set(definition.attributes):
        names = sorted(function.attributes), sorted(definition.attributes)
        raise fault(f"function {function.name}: attributes are {names[0]}, expected {names[1]}")


def _definition(name: str, node: ir.Node | None = None) -> OpDefinition:
    if name not in DEFINITIONS:
        raise fault(f"{DOMAIN}.{name} has no definition", node)
    return DEFINITIONS[name]


def _check_attributes(node: ir.Node, definition: OpDefinition) -> None:
    for name, attribute in node.attributes.items():
        if name in _OF_PLUGINS and attribute.type == ir.AttributeType.STRING:
            continue
        if name not in definition.attributes:
            raise fault(f"attribute {name} is unknown", node)
        expected = _ATTRIBUTES[definition.attributes[name].dtype]
        if attribute.type != expected:
            raise fault(f"attribute {name} is {attribute.type}, expected {expected}", node)
    for name, wanted in definition.attributes.items():
        if wanted.default is None and name not in node.attributes:
            raise fault(f"attribute {name} is missing", node)


def _checked(
    port: Port,
    value: ir.Value,
    what: str,
    allowed: tuple[ir.DataType, ...],
    types: TypeTable,
    node: ir.Node,
) -> PortShape:
    where = f"{what} {port.name} ({value.name})"
    dtype, shape = types[value]
    if dtype not in allowed:
        raise fault(f"{where}: dtype {dtype}, expected {' or '.join(map(str, allowed))}", node)
    return PortShape(where, port.shape, shape)
