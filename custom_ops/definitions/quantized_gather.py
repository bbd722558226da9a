"""Rows of a quantized table: an embedding."""

from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port
from deltaport.custom_ops.definitions.quantized_weights import QUANTIZED_CONSTANTS, dequantized

__all__ = ["QUANTIZED_GATHER"]

DOC = """\
    y = weight[ids]
with the weight stored as QuantizedLinear has it, and its rows not rounded any further. An id is
from 0 to the number of rows less 1, padding's too.
Tokens do not mix: what a padded token holds stays its own.
"""

# Only the tiles that hold the rows are unpacked, so that a table is never expanded.
BODY = (
    QUANTIZED_CONSTANTS
    + """
    flat_ids = Reshape(ids, q_rest)
    tile = Div(flat_ids, q_sixteen)
    first_row = Mul(tile, q_sixteen)
    row = Sub(flat_ids, first_row)
    codes = Gather<axis = 0>(weight, tile)
    scales = Gather<axis = 0>(weight_scales, tile)
"""
    + dequantized("codes", "scales", "rows_of_tiles")
    + """
    n_ids = Shape(flat_ids)
    n_ids_scalar = Squeeze(n_ids)
    which = Range(q_zero, n_ids_scalar, q_one)
    base = Mul(which, q_sixteen)
    chosen = Add(base, row)
    padded = Gather<axis = 0>(rows_of_tiles, chosen)
    width = Constant<value_int: int = @width>()
    width_1 = Unsqueeze(width, q_none)
    flat = Slice(padded, q_none, width_1, q_first)
    outer = Shape(ids)
    y_shape = Concat<axis = 0>(outer, width_1)
    y = Reshape(flat, y_shape)
"""
)

QUANTIZED_GATHER = OpDefinition(
    name="QuantizedGather",
    doc=DOC,
    inputs=(
        Port("ids", "int64", "B,T", "which rows"),
        Port("weight", "uint8", "Nt,Kg,bits,64", "codes of the table"),
        Port("weight_scales", "bfloat16", "Nt,Kb,S,16", "scales, and offsets where S is 2"),
    ),
    outputs=(Port("y", "float", "B,T,H", "rows"),),
    body=BODY,
    attributes={"width": Attribute("int", "columns of the table that are no padding, H")},
)
