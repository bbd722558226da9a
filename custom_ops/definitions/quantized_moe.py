"""Sparse mixtures of quantized experts, with a shared expert and without.

Source of the maths: ``Qwen3_5MoeSparseMoeBlock`` of ``transformers.models.qwen3_5_moe``.
"""

from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port
from deltaport.custom_ops.definitions.quantized_weights import (
    QUANTIZED_CONSTANTS,
    ROUNDING_CONSTANTS,
    WEIGHT_DOC,
    dequantized,
    rounded,
)
from deltaport.custom_ops.definitions.sparse_moe import (
    COMBINED,
    MOE_INPUTS,
    TOP_K,
    routed_experts,
)

__all__ = ["QUANTIZED_MOE", "QUANTIZED_SHARED_EXPERT_MOE"]

DOC = f"""\
y of SparseMoE with quantized experts, whose inner activations are rounded like tokens.
{WEIGHT_DOC}Gate rows and up rows of an expert are padded to whole tiles each.
The plugin for TensorRT takes codes as int8, the same bytes, and rounds no activations.
B >= 1 and T >= 1.
"""
SHARED_DOC = f"""\
y of SharedExpertMoE with quantized experts, whose inner activations are rounded like tokens.
{WEIGHT_DOC}Gate rows and up rows of an expert are padded to whole tiles each.
The plugin for TensorRT takes codes as int8, the same bytes, and rounds no activations.
B >= 1 and T >= 1.
"""

_CONSTANTS = (
    QUANTIZED_CONSTANTS
    + ROUNDING_CONSTANTS
    + """
    q_halves = Constant<value_ints = [2, -1]>()
    q_inner = Constant<value_int: int = @inner>()
    inner_1 = Unsqueeze(q_inner, q_none)
    q_width = Shape<start = 2>(x)
"""
)


def _expert(p: str, tokens: str, gate_up: str, down: str, width: str) -> str:
    """Text that makes ``{p}_out`` of ``tokens`` [n,H] by an expert of ``width``, a value [1]."""
    return (
        dequantized(gate_up, f"{gate_up}_scales", f"{p}_both_weights")
        + rounded(tokens, gate_up, f"{p}_tokens")
        + f"""
    {p}_columns = Shape<start = 1>({p}_both_weights)
    {p}_halves_shape = Concat<axis = 0>(q_halves, {p}_columns)
    {p}_halves = Reshape({p}_both_weights, {p}_halves_shape)
    {p}_real_halves = Slice({p}_halves, q_none, {width}, q_first)
    {p}_rows_shape = Concat<axis = 0>(q_rest, {p}_columns)
    {p}_rows = Reshape({p}_real_halves, {p}_rows_shape)
    {p}_both = Gemm<transB = 1>({p}_tokens, {p}_rows)
    {p}_gate, {p}_up = Split<axis = 1, num_outputs = 2>({p}_both)
    {p}_sigmoid = Sigmoid({p}_gate)
    {p}_silu = Mul({p}_gate, {p}_sigmoid)
    {p}_inner = Mul({p}_silu, {p}_up)
"""
        + dequantized(down, f"{down}_scales", f"{p}_down_weights")
        + rounded(f"{p}_inner", down, f"{p}_inner_rounded")
        + f"""
    {p}_down_rows = Slice({p}_down_weights, q_none, q_width, q_none)
    {p}_out = Gemm<transB = 1>({p}_inner_rounded, {p}_down_rows)
"""
    )


# An expert is unpacked as it is used, so that a layer is never expanded.
_ROUTED = _CONSTANTS + routed_experts(
    """
        own_gate_up = Gather<axis = 0>(gate_up, expert)
        own_gate_up_scales = Gather<axis = 0>(gate_up_scales, expert)
        own_down = Gather<axis = 0>(down, expert)
        own_down_scales = Gather<axis = 0>(down_scales, expert)
"""
    + _expert("expert", "mine", "own_gate_up", "own_down", "inner_1")
    + """
        out = Identity(expert_out)
"""
)

_SHARED = (
    """
    q_shared_inner = Constant<value_int: int = @shared_inner>()
    shared_inner_1 = Unsqueeze(q_shared_inner, q_none)
    shared_gate_f = Cast<to = 1>(shared_gate)
    shared_logit = Gemm<transB = 1>(tokens, shared_gate_f)
    shared_weight = Sigmoid(shared_logit)
"""
    + _expert("common", "tokens", "shared_gate_up", "shared_down", "shared_inner_1")
    + """
    shared_weighted = Mul(shared_weight, common_out)
    every = Add(combined, shared_weighted)
    real = Where(valid_column, every, f_zero)
    y = Reshape(real, x_shape)
"""
)

_INPUTS = (
    MOE_INPUTS["x"],
    MOE_INPUTS["router_logits"],
    Port("gate_up", "uint8", "E,2*It,Kg,bits,64", "codes of expert gate rows, then up rows"),
    Port("gate_up_scales", "bfloat16", "E,2*It,Kb,S,16", "their scales, and offsets where S is 2"),
    Port("down", "uint8", "E,Ht,Ig,dbits,64", "codes of expert down projections"),
    Port("down_scales", "bfloat16", "E,Ht,Ib,dS,16", "their scales, and offsets where dS is 2"),
)
_ATTRIBUTES = {"top_k": TOP_K, "inner": Attribute("int", "width inside an expert, I")}

QUANTIZED_MOE = OpDefinition(
    name="QuantizedMoE",
    doc=DOC,
    inputs=(*_INPUTS, MOE_INPUTS["lengths"]),
    outputs=(COMBINED,),
    body=f"{_ROUTED}    y = Reshape(combined, x_shape)\n",
    attributes=_ATTRIBUTES,
)

QUANTIZED_SHARED_EXPERT_MOE = OpDefinition(
    name="QuantizedSharedExpertMoE",
    doc=SHARED_DOC,
    inputs=(
        *_INPUTS,
        Port("shared_gate", "T", "1,H", "gate of the shared expert"),
        Port("shared_gate_up", "uint8", "2*st,sKg,sbits,64", "codes of its gate and up rows"),
        Port("shared_gate_up_scales", "bfloat16", "2*st,sKb,sS,16", "their scales"),
        Port("shared_down", "uint8", "Ht,sg,sdbits,64", "codes of its down projection"),
        Port("shared_down_scales", "bfloat16", "Ht,sb,sdS,16", "their scales"),
        MOE_INPUTS["lengths"],
    ),
    outputs=(COMBINED,),
    body=_ROUTED + _SHARED,
    attributes=_ATTRIBUTES
    | {"shared_inner": Attribute("int", "width inside the shared expert, Is")},
)
