"""Definitions of the ``ai.deltaport`` ops: one file each, with semantics and standard-ONNX body."""

from deltaport.custom_ops.definitions.add_rms_norm import ADD_RMS_NORM
from deltaport.custom_ops.definitions.causal_conv1d import CAUSAL_CONV1D
from deltaport.custom_ops.definitions.gated_attention import GATED_ATTENTION
from deltaport.custom_ops.definitions.gated_delta_rule import GATED_DELTA_RULE
from deltaport.custom_ops.definitions.gated_delta_rule_norm import GATED_DELTA_RULE_NORM
from deltaport.custom_ops.definitions.linear import LINEAR
from deltaport.custom_ops.definitions.op_definition import (
    BODY_OPSET,
    DIMENSIONS,
    DOMAIN,
    DOMAIN_VERSION,
    Attribute,
    OpDefinition,
    Port,
)
from deltaport.custom_ops.definitions.quantized_gather import QUANTIZED_GATHER
from deltaport.custom_ops.definitions.quantized_linear import QUANTIZED_LINEAR
from deltaport.custom_ops.definitions.quantized_moe import (
    QUANTIZED_MOE,
    QUANTIZED_SHARED_EXPERT_MOE,
)
from deltaport.custom_ops.definitions.shared_expert_moe import SHARED_EXPERT_MOE
from deltaport.custom_ops.definitions.sparse_moe import SPARSE_MOE
from deltaport.custom_ops.definitions.swiglu import SWIGLU

__all__ = [
    "ADD_RMS_NORM",
    "BODY_OPSET",
    "CAUSAL_CONV1D",
    "DEFINITIONS",
    "DIMENSIONS",
    "DOMAIN",
    "DOMAIN_VERSION",
    "GATED_ATTENTION",
    "GATED_DELTA_RULE",
    "GATED_DELTA_RULE_NORM",
    "LINEAR",
    "QUANTIZED_GATHER",
    "QUANTIZED_LINEAR",
    "QUANTIZED_MOE",
    "QUANTIZED_SHARED_EXPERT_MOE",
    "SHARED_EXPERT_MOE",
    "SPARSE_MOE",
    "SWIGLU",
    "Attribute",
    "OpDefinition",
    "Port",
]

DEFINITIONS = {
    op.name: op
    for op in (
        CAUSAL_CONV1D,
        GATED_DELTA_RULE,
        GATED_DELTA_RULE_NORM,
        GATED_ATTENTION,
        SPARSE_MOE,
        SHARED_EXPERT_MOE,
        ADD_RMS_NORM,
        SWIGLU,
        LINEAR,
        QUANTIZED_LINEAR,
        QUANTIZED_GATHER,
        QUANTIZED_MOE,
        QUANTIZED_SHARED_EXPERT_MOE,
    )
}
