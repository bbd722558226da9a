"""The custom ops as torch functions.

In eager mode each runs real, differentiable maths; under ``torch.export`` it emits one node of the
``ai.deltaport`` domain. Shapes and semantics are those of ``deltaport.custom_ops.definitions``.
"""

from .causal_conv1d import causal_conv1d
from .gated_attention import gated_attention
from .gated_delta_rule import gated_delta_rule
from .sparse_moe import sparse_moe
from .symbolic import gemm_transposed, rms_norm

__all__ = [
    "causal_conv1d",
    "gated_attention",
    "gated_delta_rule",
    "gemm_transposed",
    "rms_norm",
    "sparse_moe",
]
