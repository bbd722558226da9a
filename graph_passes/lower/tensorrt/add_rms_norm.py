"""``AddRMSNorm`` in standard ops."""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

TEXT = """
    sum = Add(x, residual)
    y = RMSNormalization<axis = -1, epsilon = {eps}>(sum, scale)
"""


def expansion(call: Call) -> Expansion:
    """TensorRT sums the squares of a norm in float32, whatever it is given."""
    return Expansion(TEXT.format(eps=call.number("norm_eps")))
