"""Prove that a state buffer may be read and written by one run of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import layout_of
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.rewriting import read_by, subgraphs
from deltaport.state_layout import StateTensor

__all__ = ["VerifyInPlaceSafety", "updated_by_kernel"]

METADATA_ONLY = {"Shape", "Size"}
"""Ops that look at a tensor's shape, never at its contents."""
VIEWS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
"""Ops whose output may share the buffer of their first input."""
COPIES = {"Concat"}
"""Ops that read a buffer once, into memory of their own, and that no runtime fuses with others."""
ALIASING_WRITERS = {
    ("TensorScatter", 0, 0),
    ("GroupQueryAttention", 3, 1),
    ("GroupQueryAttention", 4, 2),
    ("TRT_KVCacheUpdate", 0, 0),
}
"""(op, input, output) whose kernels are written to update a buffer in place."""


@dataclass(frozen=True)
class VerifyInPlaceSafety(GraphPass):
    """Every ``in_place`` row of the layout is read only before it is written.

    A runtime orders independent nodes as it likes, so being listed first is no proof. It drops and
    fuses nodes too (``Cast`` to the same type, ``MatMul`` and ``Add``), so W may come to read what
    its ancestors read. With P the past input, O the present output and W the node that writes O,
    one buffer is safe if

    1. every node that reads P (or a view of P) and is not W copies P and is an ancestor of W, and
    2. W does not read P, or reads it at an input its kernel may alias with that output.

    The proof is about what runs, so it looks inside function bodies: into the one call that
    touches a buffer, else into all of them, inlined. A node with subgraphs counts as one: what
    happens inside an ``If`` or ``Scan`` is not ordered for us. With ``kernels`` our ops are run by
    our kernels and never by their bodies: then an op's definition says what it may do.
    """

    name = "verify-in-place-safety"

    kernels: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Raise ``PassError`` naming the tensor and the offending node."""
        proved: set[tuple[ir.OperatorIdentifier, int, int]] = set()
        harder = []
        for tensor in layout_of(model):
            if tensor.update != "in_place":
                continue
            past, present = _ends(model.graph, tensor)
            if self.kernels and updated_by_kernel(past, present):
                continue
            call = _only_call(model, past, present)
            if call is None:
                harder.append(tensor)
            elif call not in proved:
                function = model.functions[call[0]]
                ends = function.inputs[call[1]], function.outputs[call[2]]
                _prove(tensor, *ends, _owners(function))
                proved.add(call)
        if harder:
            flat = common.InlinePass()(model.clone()).model
            owner = _owners(flat.graph)
            for tensor in harder:
                _prove(tensor, *_ends(flat.graph, tensor), owner)
        return ir.passes.PassResult(model, modified=False)


def _ends(graph: ir.Graph, tensor: StateTensor) -> tuple[ir.Value, ir.Value]:
    def named(name: str, values: Iterable[ir.Value]) -> ir.Value:
        for value in values:
            if value.name == name:
                return value
        raise PassError(f"{VerifyInPlaceSafety.name}: {name}: not in the graph")

    return named(tensor.input, graph.inputs), named(tensor.output, graph.outputs)


def updated_by_kernel(past: ir.Value, present: ir.Value) -> bool:
    """Whether one call of an op of ours, whose kernel may alias the two, is all that reads past."""
    uses = [use for use in past.uses() if use[0].op_type not in METADATA_ONLY]
    writer = present.producer()
    if writer is None or len(uses) != 1 or uses[0][0] is not writer or writer.domain != DOMAIN:
        return False
    written = present.index()
    assert written is not None, "a produced value has a place among its node's outputs"
    return DEFINITIONS[writer.op_type].may_alias(uses[0][1], written)


def _only_call(
    model: ir.Model, past: ir.Value, present: ir.Value
) -> tuple[ir.OperatorIdentifier, int, int] | None:
    """The function, input and output where one call is all that touches the buffer.

    Then the proof about its body is the proof, and serves every layer. Calls inside the body would
    hide what runs, so such a function does not qualify.
    """
    uses = [use for use in past.uses() if use[0].op_type not in METADATA_ONLY]
    if len(uses) != 1 or uses[0][0] is not present.producer():
        return None
    node, position = uses[0]
    function = model.functions.get(node.op_identifier())
    if function is None or any(n.op_identifier() in model.functions for n in function.all_nodes()):
        return None
    index = present.index()
    assert index is not None, "a produced value has a place among its node's outputs"
    return node.op_identifier(), position, index


Owners = dict[ir.Node, ir.Node]
"""For each node, subgraph nodes included, the top-level node it runs in."""


def _owners(graph: ir.Graph | ir.Function) -> Owners:
    owner: Owners = {}

    def claim(node: ir.Node, top: ir.Node) -> None:
        owner[node] = top
        for graph in subgraphs(node):
            for inner in graph:
                claim(inner, top)

    for node in graph:
        claim(node, node)
    return owner


def _prove(tensor: StateTensor, past: ir.Value, present: ir.Value, owner: Owners) -> None:
    where = f"{VerifyInPlaceSafety.name}: {tensor.input} -> {tensor.output}"
    writer = present.producer()
    if writer is None:
        raise PassError(f"{where}: no node writes the output")
    ancestors = _ancestors(writer, owner)
    for reader, position in _readers(past, owner):
        if reader is writer:
            if (writer.op_type, position, present.index()) not in ALIASING_WRITERS:
                raise PassError(
                    f"{where}: {_label(writer)} reads and writes the buffer and is not known to "
                    "be safe for it; use two buffers (update = swap)"
                )
        elif reader not in ancestors:
            raise PassError(
                f"{where}: {_label(reader)} may read the buffer after {_label(writer)} wrote it; "
                "use two buffers (update = swap)"
            )
        elif reader.op_type not in COPIES | VIEWS:
            raise PassError(
                f"{where}: {_label(reader)} reads the buffer and may be fused into "
                f"{_label(writer)}, which writes it; use two buffers (update = swap)"
            )


def _readers(value: ir.Value, owner: Owners) -> Iterator[tuple[ir.Node, int]]:
    """Nodes of the top-level graph that read ``value``'s contents, with the input position.

    A use inside a subgraph counts for the top-level node that owns it, at position -1.
    """
    pending, seen = [value], {value}
    while pending:
        for node, position in pending.pop().uses():
            if node.op_type in METADATA_ONLY:
                continue
            if owner[node] is node and node.op_type in VIEWS and position == 0:
                fresh = [out for out in node.outputs if out not in seen]
                seen.update(fresh)
                pending += fresh
            yield owner[node], position if owner[node] is node else -1


def _ancestors(node: ir.Node, owner: Owners) -> set[ir.Node]:
    found: set[ir.Node] = set()
    pending = [node]
    while pending:
        for value in read_by(pending.pop()):
            producer = value.producer()
            if producer is None:
                continue
            ancestor = owner[producer]
            if ancestor is not node and ancestor not in found:
                found.add(ancestor)
                pending.append(ancestor)
    return found


def _label(node: ir.Node) -> str:
    return f"{node.op_type} ({node.name})"
