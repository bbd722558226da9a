"""The custom ops as torch functions.

In eager mode each runs real, differentiable maths; under ``torch.export`` it emits one node of the
``ai.deltaport`` domain. Shapes and semantics are those of ``deltaport.custom_ops.definitions``.
"""

from deltaport.custom_ops.torch_bindings.causal_conv1d import causal_conv1d
from deltaport.custom_ops.torch_bindings.gated_attention import gated_attention
from deltaport.custom_ops.torch_bindings.gated_delta_rule import gated_delta_rule
from deltaport.custom_ops.torch_bindings.sparse_moe import sparse_moe
from deltaport.custom_ops.torch_bindings.symbolic import gemm_transposed, rms_norm

__all__ = [
    "causal_conv1d",
    "gated_attention",
    "gated_delta_rule",
    "gemm_transposed",
    "rms_norm",
    "sparse_moe",
]
