"""``SparseMoE`` and ``SharedExpertMoE`` in standard ops: one way for decode, one for prefill.

TensorRT has no op whose work depends on how many tokens an expert got. Rows of a single token, as
decode has them, gather the weights of the experts they chose, and read no others. Of more tokens
all experts compute all, and count for nothing with those that did not choose them: E / top_k times
the products there need be, which is what our plugin is for. The plan of a prompt sets memory aside
for the first way, too: the weights of as many experts as its tokens choose, 50 MB a token of a
35B-A3B. (Told that rows have one token, TensorRT-RTX 1.7 does not build it.) No padding is known:
every token selects experts.

Both ways multiply weights with columns, and ``Gemm`` transposes those of the shared expert: behind
a ``Transpose`` TensorRT-RTX 1.7 keeps weights in a plan once for every profile. Experts in int4 are
there twice, for want of another product that it builds.

A ``Loop`` over the chosen experts would do for both, but TensorRT-RTX 1.7 crashes building graphs
with several of them and attention in bfloat16.
"""

from __future__ import annotations

import onnx_ir as ir

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.lower.expand.shared_expert import shared_expert

__all__ = ["expansion", "expansion_with_shared_expert"]

ROUTED = """
    f_zero = Constant<value_float = 0.0>()
    axis_0 = Constant<value_ints = [0]>()
    axis_1 = Constant<value_ints = [1]>()
    axis_last = Constant<value_ints = [-1]>()
    count = Constant<value_ints = [{top_k}]>()
    x_rows = Constant<value_ints = [-1, {hidden}]>()
    logit_rows = Constant<value_ints = [-1, {experts}]>()
    tokens = Reshape(x, x_rows)
    logits_stored = Reshape(router_logits, logit_rows)
    logits = Cast<to = 1>(logits_stored)
    p = Softmax<axis = -1>(logits)
    p_chosen, chosen = TopK<axis = -1>(p, count)
    p_sum = ReduceSum(p_chosen, axis_1)
    w = Div(p_chosen, p_sum)
    n_tokens_1 = Shape<start = 1, end = 2>(x)
    n_tokens = Squeeze(n_tokens_1)
    one = Constant<value_int = 1>()
    is_one = Equal(n_tokens, one)
    combined = If(is_one) <
        then_branch = few () => (float[n, {hidden}] combined_few) {{
            few_gate_up_stored = Gather<axis = 0>(gate_up, chosen)
            few_gate_up = Cast<to = {dtype}>(few_gate_up_stored)
            few_dims = Constant<value_ints = [-1, 1, {hidden}, 1]>()
            few_tokens = Reshape(tokens, few_dims)
            few_both_columns = MatMul(few_gate_up, few_tokens)
            few_both = Squeeze(few_both_columns, axis_last)
            few_gate, few_up = Split<axis = 2, num_outputs = 2>(few_both)
            few_sigmoid = Sigmoid(few_gate)
            few_silu = Mul(few_gate, few_sigmoid)
            few_inner = Mul(few_silu, few_up)
            few_inner_columns = Unsqueeze(few_inner, axis_last)
            few_down_stored = Gather<axis = 0>(down, chosen)
            few_down = Cast<to = {dtype}>(few_down_stored)
            few_out_columns = MatMul(few_down, few_inner_columns)
            few_out_narrow = Squeeze(few_out_columns, axis_last)
            few_out = Cast<to = 1>(few_out_narrow)
            few_w = Unsqueeze(w, axis_last)
            few_weighted = Mul(few_out, few_w)
            combined_few = ReduceSum<keepdims = 0>(few_weighted, axis_1)
        }},
        else_branch = many () => (float[n, {hidden}] combined_many) {{
            p_shape = Shape(p)
            no_weight = Expand(f_zero, p_shape)
            weights = ScatterElements<axis = 1>(no_weight, chosen, w)
            many_gate_up = Cast<to = {dtype}>(gate_up)
            columns = Transpose<perm = [1, 0]>(tokens)
            {gate_up_product}
            many_gate, many_up = Split<axis = 1, num_outputs = 2>(many_both)
            many_sigmoid = Sigmoid(many_gate)
            many_silu = Mul(many_gate, many_sigmoid)
            many_inner = Mul(many_silu, many_up)
            many_down = Cast<to = {dtype}>(down)
            {down_product}
            many_out = Cast<to = 1>(many_out_narrow)
            by_expert = Transpose<perm = [1, 0]>(weights)
            many_w = Unsqueeze(by_expert, axis_1)
            many_weighted = Mul(many_out, many_w)
            combined_columns = ReduceSum<keepdims = 0>(many_weighted, axis_0)
            combined_many = Transpose<perm = [1, 0]>(combined_columns)
        }}>
    routed = Cast<to = {dtype}>(combined)
"""
PRODUCT = "{y} = MatMul({weight}, {x})"
PRODUCT_OF_INT4 = """
            {y}_weight = Transpose<perm = [0, 2, 1]>({weight})
            {y}_x = Transpose<perm = {perm}>({x})
            {y}_rows = MatMul({y}_x, {y}_weight)
            {y} = Transpose<perm = [0, 2, 1]>({y}_rows)
"""
"""Other products with weights dequantized from int4 have TensorRT-RTX 1.7 crash."""
END = """
    x_shape = Shape(x)
    y = Reshape({y}, x_shape)
"""


def expansion(call: Call) -> Expansion:
    """``SparseMoE``."""
    return Expansion(_routed(call) + END.format(y="routed"))


def expansion_with_shared_expert(call: Call) -> Expansion:
    """``SharedExpertMoE``."""
    shared = shared_expert(x="tokens", routed="routed", y="both", dtype=call.dtype("x"))
    return Expansion(_routed(call) + shared + END.format(y="both"))


def _routed(call: Call) -> str:
    return ROUTED.format(
        experts=call.size("router_logits", 2),
        hidden=call.size("x", 2),
        top_k=call.number("top_k"),
        dtype=call.dtype("x").value,
        gate_up_product=_product(call, "gate_up", x="columns", y="many_both", perm="[1, 0]"),
        down_product=_product(call, "down", x="many_inner", y="many_out_narrow", perm="[0, 2, 1]"),
    )


def _product(call: Call, port: str, *, x: str, y: str, perm: str) -> str:
    """``y`` [E,out,tokens] of columns ``x``, which ``perm`` makes rows of."""
    text = PRODUCT_OF_INT4 if _is_int4(call[port]) else PRODUCT
    return text.format(y=y, weight=f"many_{port}", x=x, perm=perm)


def _is_int4(weight: ir.Value) -> bool:
    """Whether it was dequantized from codes of 4 bits, with padding taken away or not."""
    node = weight.producer()
    if node is not None and node.op_type == "Slice":
        node = node.inputs[0].producer() if node.inputs[0] else None
    codes = node.inputs[0] if node is not None and node.op_type == "DequantizeLinear" else None
    return codes is not None and codes.dtype == ir.DataType.INT4
