"""How each of our ops is made of what TensorRT's parser takes: one file an op, all in one table.

Graphs are strongly typed: expansions compute in the dtype that ``lower-precision`` gave the
activations, and the gated delta rule in float32.
"""

from deltaport.graph_passes.lower.expand import swiglu
from deltaport.graph_passes.lower.expand.lower_calls import Expansions
from deltaport.graph_passes.lower.tensorrt import (
    add_rms_norm,
    causal_conv1d,
    gated_attention,
    gated_delta_rule,
    linear,
    sparse_moe,
)

__all__ = ["EXPANSIONS"]

EXPANSIONS: Expansions = {
    "AddRMSNorm": add_rms_norm.expansion,
    "CausalConv1d": causal_conv1d.expansion,
    "GatedAttention": gated_attention.expansion,
    "GatedDeltaRule": gated_delta_rule.expansion,
    "GatedDeltaRuleNorm": gated_delta_rule.expansion_with_norm,
    "Linear": linear.expansion,
    "SharedExpertMoE": sparse_moe.expansion_with_shared_expert,
    "SparseMoE": sparse_moe.expansion,
    "SwiGLU": swiglu.expansion,
}
"""By the name of our op."""
