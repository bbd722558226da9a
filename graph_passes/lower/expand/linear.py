"""``Linear`` as the product of activations with the weight in their dtype.

A weight that was dequantized is not transposed by a node, but by the product: behind a
``Transpose`` TensorRT-RTX 1.7 keeps codes of 8 bits once for every profile of a plan, so twice.
"""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.rewriting import recipe_of

__all__ = ["expansion"]

TEXT = """
    {turn}
    wide = Cast<to = {dtype}>(weight_turned)
    y = MatMul(x, wide)
"""
DEQUANTIZED = """
    rows_shape = Constant<value_ints = [-1, {inputs}]>()
    outputs = Constant<value_ints = [{outputs}]>()
    rows = Reshape(x, rows_shape)
    wide = Cast<to = {dtype}>(weight)
    y_rows = Gemm<transB = 1>(rows, wide)
    outer = Shape<end = -1>(x)
    y_shape = Concat<axis = 0>(outer, outputs)
    y = Reshape(y_rows, y_shape)
"""


def expansion(call: Call) -> Expansion:
    """Where ``lower-precision`` comes after, it takes the cast to float32 away again."""
    dtype = call.dtype("x").value
    if recipe_of(call["weight"]) is None:
        outputs, inputs = (call.size("weight", axis) for axis in (0, 1))
        return Expansion(DEQUANTIZED.format(dtype=dtype, inputs=inputs, outputs=outputs))
    turn, values = call.turned("weight")
    return Expansion(TEXT.format(dtype=dtype, turn=turn), values)
