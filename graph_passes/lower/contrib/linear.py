"""``Linear`` as the product of float32 activations with the weight widened."""

from __future__ import annotations

from deltaport.graph_passes.lower.contrib.call import Call
from deltaport.graph_passes.lower.contrib.expansion import Expansion

__all__ = ["expansion"]

TEXT = """
    wide = Cast<to = 1>(weight)
    turned = Transpose<perm = [1, 0]>(wide)
    y = MatMul(x, turned)
"""


def expansion(call: Call) -> Expansion:
    """Where activations are half precision too, ``lower-precision`` takes the cast away again."""
    del call
    return Expansion(TEXT)
