"""Check calls of backends' own ops against the table of what we know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from deltaport.graph_passes.lower.expand.value_types import LIKE_INPUT
from deltaport.graph_passes.verify.backend_signatures import SIGNATURES, VARIABLES
from deltaport.graph_passes.verify.faults import fault
from deltaport.graph_passes.verify.tensor_types import TensorType, TypeTable

__all__ = ["check_backend_call"]

_ATTRIBUTES = {
    "int": ir.AttributeType.INT,
    "float": ir.AttributeType.FLOAT,
    "string": ir.AttributeType.STRING,
}


def check_backend_call(node: ir.Node, types: TypeTable) -> None:
    """Raise ``PassError`` where a call is not what the op takes.

    ``types`` has those of the inputs, and is given those of the outputs.
    """
    if node.op_type not in SIGNATURES[node.domain]:
        raise fault(f"{node.domain}.{node.op_type} is no op we know", node)
    signature = SIGNATURES[node.domain][node.op_type]
    _check_attributes(node, signature.attributes)
    bound: dict[str, ir.DataType] = {}
    ports = signature.inputs.split()
    _check_count(node, "inputs", node.inputs, ports)
    for position, (value, port) in enumerate(zip(node.inputs, ports, strict=False)):
        if value is None:
            if not port.endswith("?"):
                raise fault(f"input {position} is missing", node)
        else:
            _bind(f"input {position} ({value.name})", port, types[value], bound, node)
    ports = signature.outputs.split()
    _check_count(node, "outputs", node.outputs, ports)
    for position, (output, port) in enumerate(zip(node.outputs, ports, strict=False)):
        if output.name:
            types.add(output, f"output {position}", node, _inferred(node, position, types))
            _bind(f"output {position} ({output.name})", port, types[output], bound, node)


def _check_count(
    node: ir.Node, what: str, values: Sequence[ir.Value | None], ports: Sequence[str]
) -> None:
    needed = sum(not port.endswith("?") for port in ports)
    if not needed <= len(values) <= len(ports):
        raise fault(f"has {len(values)} {what}, expected {needed} to {len(ports)}", node)


def _check_attributes(node: ir.Node, known: Mapping[str, str]) -> None:
    for name, attribute in node.attributes.items():
        if name not in known:
            raise fault(f"attribute {name} is unknown", node)
        expected = _ATTRIBUTES[known[name].lower()]
        if attribute.type != expected:
            raise fault(f"attribute {name} is {attribute.type}, expected {expected}", node)
    for name, kind in known.items():
        if kind.isupper() and name not in node.attributes:
            raise fault(f"attribute {name} is missing", node)


def _bind(
    where: str, port: str, found: TensorType, bound: dict[str, ir.DataType], node: ir.Node
) -> None:
    """One variable is one dtype in all of a call."""
    variable = port.rstrip("?")
    if found.dtype not in VARIABLES[variable]:
        allowed = " or ".join(map(str, VARIABLES[variable]))
        raise fault(f"{where}: dtype {found.dtype}, expected {allowed}", node)
    if bound.setdefault(variable, found.dtype) != found.dtype:
        raise fault(f"{where}: dtype {found.dtype}, other inputs make it {bound[variable]}", node)


def _inferred(node: ir.Node, position: int, types: TypeTable) -> TensorType | None:
    likes = LIKE_INPUT[node.domain][node.op_type]
    like = likes[position] if position < len(likes) else None
    value = None if like is None else node.inputs[like]
    return None if value is None else types[value]
