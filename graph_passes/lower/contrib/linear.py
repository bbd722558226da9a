"""``Linear`` as ``MatMul`` with the weight turned, in the dtype of activations."""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

TEXT = """
    wide = Cast<to = {dtype}>(weight_turned)
    y = MatMul(x, wide)
"""


def expansion(call: Call) -> Expansion:
    """Where ``lower-precision`` comes after, it takes the cast to float32 away again."""
    return Expansion(TEXT.format(dtype=call.dtype("x").value), call.turned("weight"))
