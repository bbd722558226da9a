"""``Linear`` as the product of activations with the weight in their dtype."""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.recipes.transposed_recipe import transposed

__all__ = ["expansion"]

TEXT = """
    wide = Cast<to = {dtype}>(turned)
    y = MatMul(x, wide)
"""


def expansion(call: Call) -> Expansion:
    """Where ``lower-precision`` comes after, it takes the cast to float32 away again."""
    turned = call.laid_out("weight", transposed(call.recipe("weight"), (1, 0)), "transposed")
    return Expansion(TEXT.format(dtype=call.dtype("x").value), {"turned": turned})
