"""Depthwise causal convolution over time with SiLU, carrying its last inputs as state.

Source of the maths: ``causal_conv1d_fn`` / ``causal_conv1d_update`` of
``transformers.models.qwen3_5_moe``, here channels-last and ragged.
"""

from deltaport.custom_ops.definitions.fragments import VALID_TOKENS
from deltaport.custom_ops.definitions.op_definition import OpDefinition, Port

__all__ = ["CAUSAL_CONV1D"]

DOC = """\
With ext = concat(state, x) along time:
    y[b,t]       = silu(sum_j weight[:,j] * ext[b,t+j])      for t < lengths[b], else 0
    new_state[b] = ext[b, lengths[b] : lengths[b]+K-1]
B >= 1 and T >= 1.
"""

# The loop runs over the K taps (4 in the published models), so C needs no static attribute, which
# the group count of a Conv would be, and nothing is transposed to channels-first.
# `state` is read by Concat alone and every writer of new_state descends from it: in-place safe.
BODY = (
    VALID_TOKENS.format(activation="x")
    + """
    always = Constant<value = bool {1}>()
    x_valid = Where(valid_3d, x, f_zero)
    ext = Concat<axis = 1>(state, x_valid)

    weight_f = Cast<to = 1>(weight)
    taps = Transpose<perm = [1, 0]>(weight_f)
    n_taps = Shape<start = 1, end = 2>(weight)
    n_taps_scalar = Squeeze(n_taps)
    x_shape = Shape(x)
    zeros = Expand(f_zero, x_shape)
    conv = Loop(n_taps_scalar, always, zeros) <body = add_tap
        (int64 j, bool go, float[bb, tt, cc] acc) => (bool go_on, float[bb, tt, cc] acc_next)
    {
        go_on = Identity(go)
        first = Unsqueeze(j, axis_0)
        last = Add(first, n_tokens)
        window = Slice(ext, first, last, axis_1)
        tap = Gather<axis = 0>(taps, j)
        term = Mul(window, tap)
        acc_next = Add(acc, term)
    }>
    gate = Sigmoid(conv)
    activated = Mul(conv, gate)
    y = Where(valid_3d, activated, f_zero)

    n_kept = Sub(n_taps_scalar, one)
    kept = Range(zero, n_kept, one)
    kept_rows = Add(lengths_column, kept)
    kept_index = Unsqueeze(kept_rows, axis_2)
    new_state = GatherND<batch_dims = 1>(ext, kept_index)
"""
)

CAUSAL_CONV1D = OpDefinition(
    name="CausalConv1d",
    doc=DOC,
    inputs=(
        Port("x", "float", "B,T,C", "new inputs"),
        Port("weight", "T", "C,K", "taps, oldest first"),
        Port("state", "float", "B,K-1,C", "the last K-1 inputs before x, oldest first"),
        Port("lengths", "int64", "B", "real tokens of each row, 0 to T"),
    ),
    outputs=(
        Port("y", "float", "B,T,C", "activated convolution, 0 where padded"),
        Port("new_state", "float", "B,K-1,C", "the last K-1 inputs after the row's real tokens"),
    ),
    in_place=(("state", "new_state"),),
    body=BODY,
)
