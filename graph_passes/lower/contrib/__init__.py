"""How each of our ops is made of onnxruntime's own: one file an op, all in one table.

Expansions compute with ops that have kernels both on CPU, in float32, and on CUDA. In onnxruntime
1.31 its CUDA provider takes every one of them in float16 and bfloat16, and in float32 all but
``GroupQueryAttention`` (told by the nodes it claims of a lowered decoder). One value a step crosses
to the CPU, where ``GroupQueryAttention`` wants its ``total_sequence_length``.
"""

from deltaport.graph_passes.lower.contrib import (
    add_rms_norm,
    causal_conv1d,
    gated_attention,
    gated_delta_rule,
    linear,
    sparse_moe,
)
from deltaport.graph_passes.lower.expand import swiglu
from deltaport.graph_passes.lower.expand.lower_calls import Expansions

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
