"""``AddRMSNorm`` as ``SkipSimplifiedLayerNormalization``, which gives the sum as well."""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

TEXT = """
    y, , , sum = com.microsoft.SkipSimplifiedLayerNormalization<epsilon = {eps}>(
        x, residual, scale)
"""


def expansion(call: Call) -> Expansion:
    """One node; its second and third output serve training."""
    return Expansion(TEXT.format(eps=call.number("norm_eps")))
