"""A product with a quantized weight."""

from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port
from deltaport.custom_ops.definitions.quantized_weights import (
    QUANTIZED_CONSTANTS,
    ROUNDING_CONSTANTS,
    WEIGHT_DOC,
    dequantized,
    rounded,
)

__all__ = ["QUANTIZED_LINEAR"]

DOC = f"""\
    y = x weight^T
computed in float32. {WEIGHT_DOC}Tokens do not mix: what a padded token holds stays its own.
"""

BODY = (
    QUANTIZED_CONSTANTS
    + ROUNDING_CONSTANTS
    + dequantized("weight", "weight_scales", "weight_padded")
    + rounded("x", "weight", "x_rounded")
    + """
    n_outputs = Constant<value_int: int = @N>()
    outputs_1 = Unsqueeze(n_outputs, q_none)
    weight_rows_only = Slice(weight_padded, q_none, outputs_1, q_none)
    weight_t = Transpose<perm = [1, 0]>(weight_rows_only)
    y = MatMul(x_rounded, weight_t)
"""
)

QUANTIZED_LINEAR = OpDefinition(
    name="QuantizedLinear",
    doc=DOC,
    inputs=(
        Port("x", "float", "B,T,Ki", "activations"),
        Port("weight", "uint8", "Nt,Kg,bits,64", "codes, one row for each output"),
        Port("weight_scales", "bfloat16", "Nt,Kb,S,16", "scales, and offsets where S is 2"),
    ),
    outputs=(Port("y", "float", "B,T,No", "product"),),
    body=BODY,
    attributes={"N": Attribute("int", "rows of the weight that are no padding, No")},
)
