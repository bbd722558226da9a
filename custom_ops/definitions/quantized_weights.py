"""Pieces that the bodies of ops with quantized weights share: the layout, and rounded tokens.

A weight [rows, inputs] is two tensors. ``codes`` has tiles of 16 rows by groups of 32 inputs, as a
kernel reads them: [tiles, groups, bits, 64] bytes, ``bits`` 4 or 8. With 8 bits, byte 4 r + j of
chunk c is the code of row r and input 4 c + j of the group. With 4 bits its low nibble is that of
input 8 c + j and its high nibble that of input 8 c + 4 + j. ``scales`` has, for each tile and block
of inputs, 16 scales and perhaps as many offsets: [tiles, blocks, 1 or 2, 16] in bfloat16, which
has the range of any weight and costs no precision, as codes are chosen for the rounded scale.

    weight = scale * (code - zero) + offset,    zero = 8 or 128, offset = 0 where there is none

Rows are padded to whole tiles, inputs to whole blocks.
"""

__all__ = [
    "QUANTIZED_CONSTANTS",
    "ROUNDING_CONSTANTS",
    "WEIGHT_DOC",
    "dequantized",
    "rounded",
]

WEIGHT_DOC = """\
Weights are codes of 4 or 8 bits in tiles of 16 rows by 32 inputs, with a scale and perhaps an
offset for each row and block of inputs: weight = scale * (code - zero) + offset, zero = 8 or 128.
    4 bits: byte 4 r + j of chunk c has row r, input 8 c + j low and input 8 c + 4 + j high
    8 bits: byte 4 r + j of chunk c is row r, input 4 c + j
Activations are rounded to int8 first, each group of 32 by the scale max|x| / 127 and to the
nearest, ties to even; a group below 1e-30 is zero, one with an infinity or NaN makes its token NaN.
"""

QUANTIZED_CONSTANTS = """
    q_zero = Constant<value_int = 0>()
    q_one = Constant<value_int = 1>()
    q_none = Constant<value_ints = [0]>()
    q_first = Constant<value_ints = [1]>()
    q_second = Constant<value_ints = [2]>()
    q_rest = Constant<value_ints = [-1]>()
    q_before_last = Constant<value_ints = [-2]>()
    q_eight = Constant<value_ints = [8]>()
    q_sixteen = Constant<value_ints = [16]>()
    q_steps = Constant<value_ints = [-1, 8, 16, 4]>()
    q_all_bits = Constant<value = uint8 {255}>()
    q_middle = Constant<value = uint8 {128}>()
    q_f_zero = Constant<value_float = 0.0>()
"""
"""Defines what :func:`dequantized` uses."""

ROUNDING_CONSTANTS = """
    q_group = Constant<value_ints = [32]>()
    q_groups = Constant<value_ints = [-1, 32]>()
    q_f_one = Constant<value_float = 1.0>()
    q_f_most = Constant<value_float = 127.0>()
    q_f_least = Constant<value_float = 1e-30>()
"""
"""Defines what :func:`rounded` uses besides."""


def dequantized(weight: str, scales: str, result: str) -> str:
    """ONNX text that makes ``result`` [rows, inputs], padded, of the two tensors of a weight."""
    w = weight
    return f"""
    {w}_bits = Shape<start = -2, end = -1>({weight})
    {w}_per_byte = Div(q_eight, {w}_bits)
    {w}_per_byte_scalar = Squeeze({w}_per_byte)
    {w}_place = Range(q_zero, {w}_per_byte_scalar, q_one)
    {w}_shift_int = Mul({w}_place, {w}_bits)
    {w}_shift_byte = Cast<to = 2>({w}_shift_int)
    {w}_shift = Unsqueeze({w}_shift_byte, q_rest)
    {w}_unused_int = Sub(q_eight, {w}_bits)
    {w}_unused = Cast<to = 2>({w}_unused_int)
    {w}_mask = BitShift<direction = "RIGHT">(q_all_bits, {w}_unused)
    {w}_zero_byte = BitShift<direction = "RIGHT">(q_middle, {w}_unused)
    {w}_zero = Cast<to = 1>({w}_zero_byte)
    {w}_bytes = Unsqueeze({weight}, q_before_last)
    {w}_shifted = BitShift<direction = "RIGHT">({w}_bytes, {w}_shift)
    {w}_code = BitwiseAnd({w}_shifted, {w}_mask)
    {w}_code_f = Cast<to = 1>({w}_code)
    {w}_centered = Sub({w}_code_f, {w}_zero)
    {w}_tiles = Shape<start = 0, end = 1>({weight})
    {w}_steps_shape = Concat<axis = 0>({w}_tiles, q_steps)
    {w}_steps = Reshape({w}_centered, {w}_steps_shape)
    {w}_by_row = Transpose<perm = [0, 3, 1, 2, 4]>({w}_steps)
    {w}_rows = Mul({w}_tiles, q_sixteen)
    {w}_n_blocks = Shape<start = 1, end = 2>({scales})
    {w}_blocks_shape = Concat<axis = 0>({w}_rows, {w}_n_blocks, q_rest)
    {w}_blocks = Reshape({w}_by_row, {w}_blocks_shape)
    {w}_numbers_f = Cast<to = 1>({scales})
    {w}_numbers_by_row = Transpose<perm = [0, 3, 1, 2]>({w}_numbers_f)
    {w}_numbers = Reshape({w}_numbers_by_row, {w}_blocks_shape)
    {w}_scale = Slice({w}_numbers, q_none, q_first, q_second)
    {w}_given = Slice({w}_numbers, q_first, q_second, q_second)
    {w}_no_offset = Mul({w}_scale, q_f_zero)
    {w}_offsets = Concat<axis = 2>({w}_given, {w}_no_offset)
    {w}_offset = Slice({w}_offsets, q_none, q_first, q_second)
    {w}_scaled = Mul({w}_blocks, {w}_scale)
    {w}_values = Add({w}_scaled, {w}_offset)
    {w}_matrix_shape = Concat<axis = 0>({w}_rows, q_rest)
    {result} = Reshape({w}_values, {w}_matrix_shape)
"""


def rounded(x: str, weight: str, result: str) -> str:
    """ONNX text that makes ``result`` of ``x``: rounded, and as wide as ``weight`` when padded."""
    return f"""
    {x}_n_groups = Shape<start = -3, end = -2>({weight})
    {x}_padded_width = Mul({x}_n_groups, q_group)
    {x}_width = Shape<start = -1>({x})
    {x}_more = Sub({x}_padded_width, {x}_width)
    {x}_pads = Concat<axis = 0>(q_none, {x}_more)
    {x}_padded = Pad({x}, {x}_pads, q_f_zero, q_rest)
    {x}_outer = Shape<end = -1>({x})
    {x}_groups_shape = Concat<axis = 0>({x}_outer, q_groups)
    {x}_groups = Reshape({x}_padded, {x}_groups_shape)
    {x}_magnitude = Abs({x}_groups)
    {x}_most = ReduceMax({x}_magnitude, q_rest)
    {x}_is_some = GreaterOrEqual({x}_most, q_f_least)
    {x}_divisor = Where({x}_is_some, {x}_most, q_f_one)
    {x}_factor = Div(q_f_most, {x}_divisor)
    {x}_scaled = Mul({x}_groups, {x}_factor)
    {x}_whole = Round({x}_scaled)
    {x}_code = Where({x}_is_some, {x}_whole, q_f_zero)
    {x}_scale = Div({x}_most, q_f_most)
    {x}_values = Mul({x}_code, {x}_scale)
    {x}_no_number = Mul({x}_groups, q_f_zero)
    {x}_poison = ReduceSum({x}_no_number, q_rest)
    {x}_or_nan = Add({x}_values, {x}_poison)
    {x}_padded_shape = Concat<axis = 0>({x}_outer, {x}_padded_width)
    {result} = Reshape({x}_or_nan, {x}_padded_shape)
"""
