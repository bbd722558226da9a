"""Causal grouped-query attention with q/k norm, partial rotary positions, cache and output gate.

Source of the maths: ``Qwen3_5MoeAttention`` of ``transformers.models.qwen3_5_moe``.
"""

from deltaport.custom_ops.definitions.fragments import VALID_TOKENS
from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port

__all__ = ["GATED_ATTENTION"]

DOC = """\
Per head: q = rope(rmsnorm(q) * q_norm), k = rope(rmsnorm(k) * k_norm), where rope turns the pairs
(i, i + R/2) of the first R dimensions by the angles whose cosine and sine are given.
    present[b,:,past_lengths[b]+t] = k, v of token t    for t < lengths[b]
    o = softmax(q K^T * scale) V * sigmoid(gate)        over columns 0 .. past_lengths[b]+t
Query head h reads key/value head h // (Hq/Hkv). o is 0 where padded. Columns at or beyond
past_lengths + lengths are unspecified in present and never read from past.
B >= 1 and T >= 1; the caller guarantees past_lengths + T <= capacity on every row.
"""


def _rope(name: str, heads: str) -> str:
    """Rotate ``{name}_normed`` [B,T,heads,D] into ``{name}_rotated``."""
    return f"""
    {name}_1, {name}_2, {name}_rest = Split<axis = 3>({name}_normed, rotary_split)
    {name}_1c = Mul({name}_1, cos_heads)
    {name}_2s = Mul({name}_2, sin_heads)
    {name}_first = Sub({name}_1c, {name}_2s)
    {name}_2c = Mul({name}_2, cos_heads)
    {name}_1s = Mul({name}_1, sin_heads)
    {name}_second = Add({name}_2c, {name}_1s)
    {name}_rotated = Concat<axis = 3>({name}_first, {name}_second, {name}_rest)
"""


# The cache is sliced to the longest valid row and masked explicitly: attending over the whole
# capacity would cost what the longest possible context costs. Values are masked as well as scores,
# since 0 * NaN of a never-written column would poison the sum.
# past_* feed TensorScatter alone, which is written for aliasing: in-place safe.
BODY = (
    VALID_TOKENS.format(activation="k")
    + """
    two = Constant<value_ints = [2]>()
    zero_1 = Constant<value_ints = [0]>()
    one_1 = Constant<value_ints = [1]>()
    minus_one = Constant<value_ints = [-1]>()
    n_rows = Shape<start = 0, end = 1>(past_key)
    n_kv_heads = Shape<start = 1, end = 2>(past_key)
    head_dim = Shape(q_norm)
    q_gate_dim = Shape<start = 2, end = 3>(q_gate)
    q_dim = Div(q_gate_dim, two)
    n_heads = Div(q_dim, head_dim)
    group = Div(n_heads, n_kv_heads)

    head_pair = Mul(head_dim, two)
    q_gate_shape = Concat<axis = 0>(zero_1, zero_1, n_heads, head_pair)
    q_gate_heads = Reshape(q_gate, q_gate_shape)
    q_raw, gate_heads = Split<axis = 3, num_outputs = 2>(q_gate_heads)
    kv_shape = Concat<axis = 0>(zero_1, zero_1, n_kv_heads, head_dim)
    k_raw = Reshape(k, kv_shape)
    v_heads = Reshape(v, kv_shape)
    q_normed = RMSNormalization<axis = -1, epsilon: float = @norm_eps>(q_raw, q_norm)
    k_normed = RMSNormalization<axis = -1, epsilon: float = @norm_eps>(k_raw, k_norm)

    half_rotary = Shape<start = 2, end = 3>(cos)
    rotary = Mul(half_rotary, two)
    unrotated = Sub(head_dim, rotary)
    rotary_split = Concat<axis = 0>(half_rotary, half_rotary, unrotated)
    cos_heads = Unsqueeze(cos, axis_2)
    sin_heads = Unsqueeze(sin, axis_2)
"""
    + _rope("q", "Hq")
    + _rope("k", "Hkv")
    + """
    k_new = Transpose<perm = [0, 2, 1, 3]>(k_rotated)
    v_new = Transpose<perm = [0, 2, 1, 3]>(v_heads)
    present_key = TensorScatter<axis = 2>(past_key, k_new, past_lengths)
    present_value = TensorScatter<axis = 2>(past_value, v_new, past_lengths)

    total_lengths = Add(past_lengths, lengths)
    longest = ReduceMax<keepdims = 1>(total_lengths)
    n_columns = Max(longest, one_1)
    keys = Slice(present_key, zero_1, n_columns, axis_2)
    values_raw = Slice(present_value, zero_1, n_columns, axis_2)
    n_columns_scalar = Squeeze(n_columns)
    column = Range(zero, n_columns_scalar, one)
    total_column = Unsqueeze(total_lengths, axis_1)
    written = Less(column, total_column)
    value_axes = Constant<value_ints = [1, 3]>()
    written_4d = Unsqueeze(written, value_axes)
    values = Where(written_4d, values_raw, f_zero)

    past_column = Unsqueeze(past_lengths, axis_1)
    token_position = Add(past_column, token)
    token_position_3d = Unsqueeze(token_position, axis_2)
    visible = LessOrEqual(column, token_position_3d)
    score_axes = Constant<value_ints = [1, 2]>()
    visible_5d = Unsqueeze(visible, score_axes)

    grouped_shape = Concat<axis = 0>(zero_1, zero_1, n_kv_heads, group, head_dim)
    q_grouped = Reshape(q_rotated, grouped_shape)
    q_by_head = Transpose<perm = [0, 2, 3, 1, 4]>(q_grouped)
    folded_shape = Concat<axis = 0>(zero_1, zero_1, minus_one, head_dim)
    q_folded = Reshape(q_by_head, folded_shape)
    keys_t = Transpose<perm = [0, 1, 3, 2]>(keys)
    raw_scores = MatMul(q_folded, keys_t)
    score_scale = Constant<value_float: float = @scale>()
    scaled_scores = Mul(raw_scores, score_scale)
    scores_shape = Concat<axis = 0>(n_rows, n_kv_heads, group, n_tokens, n_columns)
    scores_5d = Reshape(scaled_scores, scores_shape)
    minus_infinity = Constant<value_float = -inf>()
    scores = Where(visible_5d, scores_5d, minus_infinity)
    probabilities = Softmax<axis = -1>(scores)
    folded_scores_shape = Concat<axis = 0>(n_rows, n_kv_heads, minus_one, n_columns)
    probabilities_folded = Reshape(probabilities, folded_scores_shape)
    attended_folded = MatMul(probabilities_folded, values)
    attended_shape = Concat<axis = 0>(n_rows, n_kv_heads, group, n_tokens, head_dim)
    attended_by_head = Reshape(attended_folded, attended_shape)
    attended_heads = Transpose<perm = [0, 3, 1, 2, 4]>(attended_by_head)
    flat_shape = Concat<axis = 0>(zero_1, zero_1, q_dim)
    attended = Reshape(attended_heads, flat_shape)
    gate_flat = Reshape(gate_heads, flat_shape)
    gate = Sigmoid(gate_flat)
    gated = Mul(attended, gate)
    o = Where(valid_3d, gated, f_zero)
"""
)

GATED_ATTENTION = OpDefinition(
    name="GatedAttention",
    doc=DOC,
    inputs=(
        Port("q_gate", "float", "B,T,Hq*2*D", "per head: query [D], output gate logits [D]"),
        Port("k", "float", "B,T,Hkv*D", "keys before norm and rope"),
        Port("v", "float", "B,T,Hkv*D", "values"),
        Port("q_norm", "float", "D", "scale of the query norm"),
        Port("k_norm", "float", "D", "scale of the key norm"),
        Port("cos", "float", "B,T,R/2", "cosine of each token's rotary angles"),
        Port("sin", "float", "B,T,R/2", "sine of each token's rotary angles"),
        Port("past_key", "float", "B,Hkv,capacity,D", "key cache"),
        Port("past_value", "float", "B,Hkv,capacity,D", "value cache"),
        Port("lengths", "int64", "B", "real tokens of each row, 0 to T"),
        Port("past_lengths", "int64", "B", "cached tokens of each row"),
    ),
    outputs=(
        Port("o", "float", "B,T,Hq*D", "gated attention, 0 where padded"),
        Port("present_key", "float", "B,Hkv,capacity,D", "key cache with the new tokens"),
        Port("present_value", "float", "B,Hkv,capacity,D", "value cache with the new tokens"),
    ),
    in_place=(("past_key", "present_key"), ("past_value", "present_value")),
    body=BODY,
    attributes={
        "scale": Attribute("float", "what scores are multiplied by; D^-0.5 in the model"),
        "norm_eps": Attribute(
            "float", "added to the mean square in the query and key norms", default=1e-6
        ),
    },
)
