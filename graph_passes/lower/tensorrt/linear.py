"""``Linear`` as a product that transposes the weight [N,K] itself, in the dtype of activations.

TensorRT-RTX 1.7 keeps weights in a plan once for every profile, so twice, where ``MatMul`` reads
them through a ``Transpose`` and its result is split, or where they are codes of 8 bits.
"""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

TEXT = """
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
    """``Linear``."""
    outputs, inputs = (call.size("weight", axis) for axis in (0, 1))
    dtype = call.dtype("x").value
    return Expansion(TEXT.format(dtype=dtype, inputs=inputs, outputs=outputs))
