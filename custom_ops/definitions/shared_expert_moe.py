"""Sparse mixture of experts with one shared expert behind a sigmoid gate.

Source of the maths: ``Qwen3_5MoeSparseMoeBlock`` of ``transformers.models.qwen3_5_moe``.
"""

from deltaport.custom_ops.definitions.op_definition import OpDefinition, Port
from deltaport.custom_ops.definitions.sparse_moe import (
    COMBINED,
    MOE_INPUTS,
    ROUTED_EXPERTS,
    TOP_K,
)

__all__ = ["SHARED_EXPERT_MOE"]

DOC = """\
y of SparseMoE plus, for each real token:
    sigmoid(shared_gate x) * shared_down (silu(gate) * up),     [gate; up] = shared_gate_up x
A padded token selects no expert, not the shared one either, and its y is 0.
B >= 1 and T >= 1.
"""

BODY = (
    ROUTED_EXPERTS
    + """
    shared_gate_f = Cast<to = 1>(shared_gate)
    shared_logit = Gemm<transB = 1>(tokens, shared_gate_f)
    shared_weight = Sigmoid(shared_logit)
    shared_gate_up_f = Cast<to = 1>(shared_gate_up)
    shared_both = Gemm<transB = 1>(tokens, shared_gate_up_f)
    shared_g, shared_u = Split<axis = 1, num_outputs = 2>(shared_both)
    shared_sigmoid = Sigmoid(shared_g)
    shared_silu = Mul(shared_g, shared_sigmoid)
    shared_inner = Mul(shared_silu, shared_u)
    shared_down_f = Cast<to = 1>(shared_down)
    shared_out = Gemm<transB = 1>(shared_inner, shared_down_f)
    shared = Mul(shared_weight, shared_out)
    every = Add(combined, shared)
    real = Where(valid_column, every, f_zero)
    y = Reshape(real, x_shape)
"""
)

SHARED_EXPERT_MOE = OpDefinition(
    name="SharedExpertMoE",
    doc=DOC,
    inputs=(
        *(port for name, port in MOE_INPUTS.items() if name != "lengths"),
        Port("shared_gate", "T", "1,H", "gate of the shared expert"),
        Port("shared_gate_up", "T", "2*Is,H", "shared expert's gate rows, then up rows"),
        Port("shared_down", "T", "H,Is", "shared expert's down projection"),
        MOE_INPUTS["lengths"],
    ),
    outputs=(COMBINED,),
    body=BODY,
    attributes={"top_k": TOP_K},
)
