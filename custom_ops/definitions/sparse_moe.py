"""Sparse mixture of experts: softmax top-k routing, SwiGLU experts, weighted combine.

Source of the maths: ``Qwen3_5MoeTopKRouter`` and ``Qwen3_5MoeExperts`` of
``transformers.models.qwen3_5_moe``.
"""

from deltaport.custom_ops.definitions.fragments import VALID_TOKENS
from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port

__all__ = ["COMBINED", "MOE_INPUTS", "ROUTED_EXPERTS", "SPARSE_MOE", "TOP_K", "routed_experts"]

DOC = """\
For each real token:
    p = softmax(router_logits)                  over E
    chosen = the top_k largest p, ties to the lower index; w = p[chosen] / sum(p[chosen])
    y = sum over chosen e of w_e * down[e] (silu(gate) * up),   [gate; up] = gate_up[e] x
A padded token selects no expert and its y is 0. Only chosen experts' weights are read.
B >= 1 and T >= 1.
"""


# A loop over the experts somebody chose, in index order: each iteration reads one expert's weights
# and applies it to all of its tokens, so weights are never copied per token.
def routed_experts(products: str) -> str:
    """The routing, and a loop over experts; ``products`` makes ``out`` of ``mine`` and ``expert``.

    Makes ``combined`` [B*T,H]; tails use ``tokens``, ``x_shape``, ``valid_column`` [B*T,1] too.
    """
    return _ROUTING + products + _SUM


_ROUTING = (
    VALID_TOKENS.format(activation="x")
    + """
    always = Constant<value = bool {1}>()
    nobody = Constant<value_int = -1>()
    minus_one = Constant<value_ints = [-1]>()
    minus_one_by_one = Constant<value_ints = [-1, 1]>()
    x_shape = Shape(x)
    hidden = Shape<start = 2, end = 3>(x)
    tokens_shape = Concat<axis = 0>(minus_one, hidden)
    tokens = Reshape(x, tokens_shape)
    n_experts = Shape<start = 2, end = 3>(router_logits)
    logits_shape = Concat<axis = 0>(minus_one, n_experts)
    logits = Reshape(router_logits, logits_shape)

    p = Softmax<axis = -1>(logits)
    k = Constant<value_int: int = @top_k>()
    k_1 = Unsqueeze(k, axis_0)
    p_chosen, chosen_any = TopK<axis = -1>(p, k_1)
    p_sum = ReduceSum(p_chosen, axis_last)
    w = Div(p_chosen, p_sum)
    valid_column = Reshape(valid, minus_one_by_one)
    chosen = Where(valid_column, chosen_any, nobody)

    chosen_flat = Reshape(chosen, minus_one)
    distinct = Unique<sorted = 1>(chosen_flat)
    is_expert = GreaterOrEqual(distinct, zero)
    used = Compress(distinct, is_expert)
    n_used = Size(used)

    tokens_dims = Shape(tokens)
    nothing = Expand(f_zero, tokens_dims)
    combined = Loop(n_used, always, nothing) <body = one_expert
        (int64 i, bool go, float[n, h] acc) => (bool go_on, float[n, h] acc_next)
    {
        go_on = Identity(go)
        expert = Gather<axis = 0>(used, i)
        hit = Equal(chosen, expert)
        hit_coordinates = NonZero(hit)
        hit_pairs = Transpose<perm = [1, 0]>(hit_coordinates)
        hit_token = Gather<axis = 0>(hit_coordinates, zero)
        hit_w = GatherND(w, hit_pairs)
        mine = Gather<axis = 0>(tokens, hit_token)
"""
)
_SUM = """
        hit_w_column = Unsqueeze(hit_w, axis_1)
        weighted = Mul(out, hit_w_column)
        hit_rows = Unsqueeze(hit_token, axis_1)
        acc_next = ScatterND<reduction = "add">(acc, hit_rows, weighted)
    }>
"""
ROUTED_EXPERTS = routed_experts(
    """
        gate_up_stored = Gather<axis = 0>(gate_up, expert)
        gate_up_e = Cast<to = 1>(gate_up_stored)
        both = Gemm<transB = 1>(mine, gate_up_e)
        gate, up = Split<axis = 1, num_outputs = 2>(both)
        gate_sigmoid = Sigmoid(gate)
        gate_silu = Mul(gate, gate_sigmoid)
        inner = Mul(gate_silu, up)
        down_stored = Gather<axis = 0>(down, expert)
        down_e = Cast<to = 1>(down_stored)
        out = Gemm<transB = 1>(inner, down_e)
"""
)

MOE_INPUTS = {
    port.name: port
    for port in (
        Port("x", "float", "B,T,H", "tokens"),
        Port("router_logits", "float", "B,T,E", "router logits"),
        Port("gate_up", "T", "E,2*I,H", "expert gate rows, then up rows"),
        Port("down", "T", "E,H,I", "expert down projections"),
        Port("lengths", "int64", "B", "real tokens of each row, 0 to T"),
    )
}
COMBINED = Port("y", "float", "B,T,H", "combined experts, 0 where padded")
TOP_K = Attribute("int", "experts each token is given to, 1 to E")

SPARSE_MOE = OpDefinition(
    name="SparseMoE",
    doc=DOC,
    inputs=tuple(MOE_INPUTS.values()),
    outputs=(COMBINED,),
    body=f"{ROUTED_EXPERTS}    y = Reshape(combined, x_shape)\n",
    attributes={"top_k": TOP_K},
)
