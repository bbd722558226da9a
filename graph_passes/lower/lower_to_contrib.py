"""Make our ops of those onnxruntime brings along."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from deltaport.custom_ops.definitions import BODY_OPSET, DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.graph_pass import GraphPass, PreconditionError
from deltaport.graph_passes.lower.contrib import CONTRIB, EXPANSIONS, Call, expand
from deltaport.graph_passes.verify.verify_in_place_safety import ALIASING_WRITERS
from deltaport.state_layout import StateLayout, StateTensor, StateUpdate

__all__ = ["LowerToContrib"]


@dataclass(frozen=True)
class LowerToContrib(GraphPass):
    """Replace every op of our domain by contrib ops of onnxruntime and standard ones.

    1. ``CausalConv1d``         becomes  ``CausalConvWithState``
    2. ``GatedDeltaRule``       becomes  ``LinearAttention``, with norms and gates before it
    3. ``GatedDeltaRuleNorm``   the same, and ``GatedRMSNorm`` after it
    4. ``GatedAttention``       becomes  ``GroupQueryAttention``, between norms, rotations, a gate
    5. ``SparseMoE``            becomes  ``MoE``
    6. ``SharedExpertMoE``      the same, and the shared expert in standard ops
    7. ``AddRMSNorm``           becomes  ``SkipSimplifiedLayerNormalization``
    8. ``SwiGLU``, ``Linear``   become   standard ops

    For onnxruntime 1.31 or newer. What results ignores ``lengths``: a step of more than one token
    must be one row of ``lengths == T``, and every row must have a token. Rows of the state layout
    become ``in_place`` or ``swap`` as the op that now writes them allows. Raises ``PassError`` for
    an op without expansion, weights that are none, and head counts that are not known.
    """

    name = "lower-to-contrib"

    def requires(self, model: ir.Model) -> None:
        """Templates are written in the opset of the function bodies."""
        opset = model.graph.opset_imports.get("")
        if opset != BODY_OPSET:
            raise PreconditionError(
                f"{self.name}: graph is opset {opset}, expansions are opset {BODY_OPSET}"
            )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower in one sweep: no expansion holds an op of ours."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_lower(node)
        if modified:
            model.graph.opset_imports.pop(DOMAIN, None)
            model.graph.opset_imports[CONTRIB] = 1
            set_layout(model, _updates_of_writers(model))
        return ir.passes.PassResult(model, modified)

    def _try_lower(self, node: ir.Node) -> bool:
        if node.domain != DOMAIN:
            return False
        if node.op_type not in EXPANSIONS:
            raise PassError(f"{self.name}: {DOMAIN}.{node.op_type} has no expansion")
        call = Call(node)
        expand(call, EXPANSIONS[node.op_type](call))
        return True


def _updates_of_writers(model: ir.Model) -> StateLayout:
    outputs = {value.name: value for value in model.graph.outputs}
    return StateLayout(
        tuple(
            replace(tensor, update=_update(tensor, outputs[tensor.output]))
            for tensor in layout_of(model)
        )
    )


def _update(tensor: StateTensor, present: ir.Value) -> StateUpdate:
    writer = present.producer()
    reads = [] if writer is None else [value and value.name for value in writer.inputs]
    if writer is None or tensor.input not in reads:
        return "swap"
    way = (writer.op_type, reads.index(tensor.input), present.index())
    return "in_place" if way in ALIASING_WRITERS else "swap"
