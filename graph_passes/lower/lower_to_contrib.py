"""Make our ops of those onnxruntime brings along."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.lower.contrib import EXPANSIONS
from deltaport.graph_passes.lower.expand.lower_calls import lower_calls, require_body_opset
from deltaport.graph_passes.lower.expand.value_types import CONTRIB

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
        require_body_opset(model, self.name)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower in one sweep."""
        return ir.passes.PassResult(model, lower_calls(model, EXPANSIONS, CONTRIB, self.name))
