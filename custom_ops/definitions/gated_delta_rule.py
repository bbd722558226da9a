"""The gated delta rule: linear attention with a decaying matrix state corrected by a delta update.

Sources of the maths: Yang et al., "Gated Delta Networks" (arXiv 2412.06464) for the rule and its
chunk-parallel WY form; ``torch_recurrent_gated_delta_rule`` of
``transformers.models.qwen3_5_moe`` for the conventions.
"""

from deltaport.custom_ops.definitions.delta_rule_chunks import CHUNK, CHUNK_SCAN, doubling_masks
from deltaport.custom_ops.definitions.fragments import VALID_TOKENS
from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port

__all__ = ["GATED_DELTA_RULE", "NEW_STATE", "NORM_EPS", "RULE_INPUTS", "delta_rule_body"]

DOC = """\
Per row b and value head h, which reads key head h // (Hv/Hk):
    q, k = l2norm(q) * Dk^-0.5, l2norm(k)       l2norm(x) = x / sqrt(sum(x^2) + norm_eps)
    g    = -exp(A_log) * softplus(a + dt_bias)  log decay, <= 0
    beta = sigmoid(b)                           write strength
and for each real token t, with S the state [Dk,Dv]:
    S = exp(g) * S
    S = S + k (beta * (v - k^T S))^T
    o = q^T S
A padded token neither decays nor updates S, and its o is 0. B >= 1 and T >= 1.
"""

# Normalised q, k and masked gates. Shapes come from the state, so the op needs no head counts.
# beta is spelled out because ONNX Runtime's Sigmoid is accurate to 5e-8 absolute only: at b = -14
# it is 7% off, always the same way, and the state adds that up over a long sequence.
PREPARE = """
    two = Constant<value_ints = [2]>()
    minus_one = Constant<value_ints = [-1]>()
    zero_1 = Constant<value_ints = [0]>()
    one_1 = Constant<value_ints = [1]>()
    state_shape = Shape(state)
    n_rows, n_value_heads, key_head_dim, value_head_dim = Split<num_outputs = 4>(state_shape)
    value_dim = Mul(n_value_heads, value_head_dim)
    packed_dim = Shape<start = 2, end = 3>(qkv)
    both_key_dims = Sub(packed_dim, value_dim)
    key_dim = Div(both_key_dims, two)
    n_key_heads = Div(key_dim, key_head_dim)
    group = Div(n_value_heads, n_key_heads)

    qkv_valid = Where(valid_3d, qkv, f_zero)
    packed_split = Concat<axis = 0>(key_dim, key_dim, value_dim)
    q_flat, k_flat, v_flat = Split<axis = 2>(qkv_valid, packed_split)
    qk_shape = Concat<axis = 0>(zero_1, zero_1, n_key_heads, key_head_dim)
    q_raw = Reshape(q_flat, qk_shape)
    k_raw = Reshape(k_flat, qk_shape)

    eps = Constant<value_float: float = @norm_eps>()
    q_sumsq = ReduceSumSquare(q_raw, axis_last)
    q_sumsq_eps = Add(q_sumsq, eps)
    q_norm = Sqrt(q_sumsq_eps)
    key_head_dim_f = Cast<to = 1>(key_head_dim)
    inverse_scale = Sqrt(key_head_dim_f)
    q_divisor = Mul(q_norm, inverse_scale)
    q = Div(q_raw, q_divisor)
    k_sumsq = ReduceSumSquare(k_raw, axis_last)
    k_sumsq_eps = Add(k_sumsq, eps)
    k_norm = Sqrt(k_sumsq_eps)
    k = Div(k_raw, k_norm)

    rate = Exp(A_log)
    a_biased = Add(a, dt_bias)
    step = Softplus(a_biased)
    decay = Mul(rate, step)
    log_decay = Neg(decay)
    g = Where(valid_3d, log_decay, f_zero)
    b_negated = Neg(b)
    b_exp = Exp(b_negated)
    f_one = Constant<value_float = 1.0>()
    b_exp_plus_1 = Add(b_exp, f_one)
    b_sigmoid = Reciprocal(b_exp_plus_1)
    beta = Where(valid_3d, b_sigmoid, f_zero)

    heads_shape = Concat<axis = 0>(n_rows, n_key_heads, group, key_head_dim, value_head_dim)
    S = Reshape(state, heads_shape)
"""

# One token: the recurrence as written.
ONE_STEP = """
        k_row_shape = Concat<axis = 0>(n_rows, n_key_heads, one_1, one_1, key_head_dim)
        k_col_shape = Concat<axis = 0>(n_rows, n_key_heads, one_1, key_head_dim, one_1)
        v_row_shape = Concat<axis = 0>(n_rows, n_key_heads, group, one_1, value_head_dim)
        gate_shape = Concat<axis = 0>(n_rows, n_key_heads, group, one_1, one_1)
        q_row = Reshape(q, k_row_shape)
        k_row = Reshape(k, k_row_shape)
        k_col = Reshape(k, k_col_shape)
        v_row = Reshape(v_flat, v_row_shape)
        g_1 = Reshape(g, gate_shape)
        beta_1 = Reshape(beta, gate_shape)

        alpha = Exp(g_1)
        S_decayed = Mul(alpha, S)
        predicted = MatMul(k_row, S_decayed)
        error = Sub(v_row, predicted)
        delta = Mul(beta_1, error)
        update = Mul(k_col, delta)
        S_one = Add(S_decayed, update)
        o_heads_one = MatMul(q_row, S_one)
        o_one_shape = Concat<axis = 0>(n_rows, one_1, value_dim)
        o_one = Reshape(o_heads_one, o_one_shape)
"""


# Many tokens: whole chunks of them, the last one padded with tokens that change nothing.
CHUNKED = f"""
        chunk = Constant<value_ints = [{CHUNK}]>()
        last_axis = Constant<value_int = -1>()
        row_axis = Constant<value_int = -2>()
        chunk_scalar = Squeeze(chunk)
        position = Range(zero, chunk_scalar, one)
        row = Unsqueeze(position, axis_1)
        col = Unsqueeze(position, axis_0)
        below = Greater(row, col)
        upto = GreaterOrEqual(row, col)
        diagonal = Equal(row, col)
        identity = Cast<to = 1>(diagonal)
        {doubling_masks(CHUNK)}

        rest = Mod(n_tokens, chunk)
        missing = Sub(chunk, rest)
        padding = Mod(missing, chunk)
        pads = Concat<axis = 0>(zero_1, padding)
        q_padded = Pad(q, pads, f_zero, axis_1)
        k_padded = Pad(k, pads, f_zero, axis_1)
        v_padded = Pad(v_flat, pads, f_zero, axis_1)
        g_padded = Pad(g, pads, f_zero, axis_1)
        beta_padded = Pad(beta, pads, f_zero, axis_1)

        qk_chunks = Concat<axis = 0>(n_rows, minus_one, chunk, n_key_heads, key_head_dim)
        v_chunks = Concat<axis = 0>(n_rows, minus_one, chunk, n_key_heads, group, value_head_dim)
        gate_chunks = Concat<axis = 0>(n_rows, minus_one, chunk, n_key_heads, group)
        q_split = Reshape(q_padded, qk_chunks)
        k_split = Reshape(k_padded, qk_chunks)
        v_split = Reshape(v_padded, v_chunks)
        g_split = Reshape(g_padded, gate_chunks)
        beta_split = Reshape(beta_padded, gate_chunks)
        q_scan = Transpose<perm = [1, 0, 3, 2, 4]>(q_split)
        k_scan = Transpose<perm = [1, 0, 3, 2, 4]>(k_split)
        v_scan = Transpose<perm = [1, 0, 3, 4, 2, 5]>(v_split)
        g_scan = Transpose<perm = [1, 0, 3, 4, 2]>(g_split)
        beta_scan = Transpose<perm = [1, 0, 3, 4, 2]>(beta_split)

{CHUNK_SCAN}        o_ordered = Transpose<perm = [1, 0, 4, 2, 3, 5]>(o_scan)
        o_padded_shape = Concat<axis = 0>(n_rows, minus_one, value_dim)
        o_padded = Reshape(o_ordered, o_padded_shape)
        o_many = Slice(o_padded, zero_1, n_tokens, axis_1)
"""


def delta_rule_body(read_out: str) -> str:
    """The rule as ONNX text, its read-out called ``read_out``, its state ``new_state``.

    Tails also use what ``VALID_TOKENS`` and ``PREPARE`` define.
    """
    return f"""
{VALID_TOKENS.format(activation="qkv")}
{PREPARE}
    is_one = Equal(n_tokens_scalar, one)
    {read_out}, S_next = If(is_one) <
        then_branch = one_step () => (o_one, S_one) {{
{ONE_STEP}
        }},
        else_branch = chunked () => (o_many, S_many) {{
{CHUNKED}
        }}>
    stepped_state = Reshape(S_next, state_shape)
    state_dims = Constant<value_ints = [1, 2, 3]>()
    lengths_4d = Unsqueeze(lengths, state_dims)
    touched = Greater(lengths_4d, zero)
    new_state = Where(touched, stepped_state, state)
"""


RULE_INPUTS = {
    port.name: port
    for port in (
        Port("qkv", "float", "B,T,2*Hk*Dk+Hv*Dv", "all query, then key, then value heads"),
        Port("a", "float", "B,T,Hv", "decay logits"),
        Port("b", "float", "B,T,Hv", "write-strength logits"),
        Port("A_log", "float", "Hv", "log of the decay rate"),
        Port("dt_bias", "float", "Hv", "bias of the decay logits"),
        Port("state", "float", "B,Hv,Dk,Dv", "recurrent state"),
        Port("lengths", "int64", "B", "real tokens of each row, 0 to T"),
    )
}
NEW_STATE = Port("new_state", "float", "B,Hv,Dk,Dv", "state after the row's real tokens")
NORM_EPS = Attribute(
    "float", "added to the sum of squares in the l2 norms of queries and keys", default=1e-6
)

GATED_DELTA_RULE = OpDefinition(
    name="GatedDeltaRule",
    doc=DOC,
    inputs=tuple(RULE_INPUTS.values()),
    outputs=(Port("o", "float", "B,T,Hv*Dv", "read-out, 0 where padded"), NEW_STATE),
    in_place=(("state", "new_state"),),
    float32=("A_log", "dt_bias", "state", "new_state"),
    body=delta_rule_body("o"),
    attributes={"norm_eps": NORM_EPS},
)
