"""Make our ops of those TensorRT has."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN, DOMAIN_VERSION
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.lower_calls import lower_calls, require_body_opset
from deltaport.graph_passes.lower.expand.value_types import TENSORRT
from deltaport.graph_passes.lower.tensorrt import EXPANSIONS
from deltaport.graph_passes.recipes.int8_recipe import AsInt8

__all__ = ["PLUGINS", "LowerToTensorrt"]


PLUGINS = (
    "CausalConv1d",
    "GatedDeltaRule",
    "GatedDeltaRuleNorm",
    "SparseMoE",
    "SharedExpertMoE",
    "QuantizedMoE",
    "QuantizedSharedExpertMoE",
)
"""The ops that custom_ops/tensorrt_adapter has plugins for."""


@dataclass(frozen=True)
class LowerToTensorrt(GraphPass):
    """Replace ops of our domain by standard ones and those of TensorRT's parser.

    1. ``CausalConv1d``         becomes  shifted products
    2. ``GatedDeltaRule``       becomes  a ``Scan`` over chunks, in float32
    3. ``GatedDeltaRuleNorm``   the same, and a gated norm after it
    4. ``GatedAttention``       becomes  ``TRT_KVCacheUpdate`` and ``TRT_Attention``
    5. ``SparseMoE``            becomes  products of all experts, or of the chosen for one token
    6. ``SharedExpertMoE``      the same, and the shared expert beside it
    7. ``AddRMSNorm``, ``SwiGLU``, ``Linear``   become   standard ops

    With ``plugins`` all but attention and the last three stay calls of our ops, which then are
    plugins, and so do ``QuantizedMoE`` and ``QuantizedSharedExpertMoE``, which have no expansion.
    Their codes are taken for int8, the same bytes: TensorRT's parser widens uint8.

    What results ignores ``lengths``: a step of more than one token must be one row of
    ``lengths == T``, and every row must have a token. Rows of the state layout become ``in_place``
    or ``swap`` as the op that now writes them allows. Raises ``PassError`` for an op without
    expansion, weights that are none, and head counts that are not known.
    """

    name = "lower-to-tensorrt"

    plugins: bool = False

    def requires(self, model: ir.Model) -> None:
        """Templates are written in the opset of the function bodies."""
        require_body_opset(model, self.name)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower in one sweep."""
        kept = PLUGINS if self.plugins else ()
        modified = lower_calls(model, EXPANSIONS, TENSORRT, self.name, kept=kept)
        for node in model.graph:
            if node.domain == DOMAIN:
                modified |= _make_plugin(node)
        return ir.passes.PassResult(model, modified)


def _make_plugin(node: ir.Node) -> bool:
    """Make a call what TensorRT's parsers find a plugin for; whether it was none yet."""
    named, signed = _name_plugin(node), _sign_codes(Call(node))
    return named or signed


def _sign_codes(call: Call) -> bool:
    modified = False
    for position, port in enumerate(call.definition.inputs):
        if call[port.name].dtype == ir.DataType.UINT8:
            codes = call.laid_out(port.name, AsInt8(call.recipe(port.name)), "int8")
            call.node.replace_input_with(position, codes)
            modified = True
    return modified


def _name_plugin(node: ir.Node) -> bool:
    """Give a call what parsers look plugins up by, and all attributes: no defaults."""
    wanted = {
        **{name: each.default for name, each in DEFINITIONS[node.op_type].attributes.items()},
        "plugin_namespace": DOMAIN,
        "plugin_version": str(DOMAIN_VERSION),
    }
    missing = {name: value for name, value in wanted.items() if name not in node.attributes}
    for name, value in missing.items():
        node.attributes[name] = ir.convenience.convert_attribute(name, value)
    return bool(missing)
