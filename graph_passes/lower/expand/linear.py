"""``Linear`` as the product of float32 activations with the weight widened."""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.recipes.transposed_recipe import transposed

__all__ = ["expansion"]

TEXT = """
    wide = Cast<to = 1>(turned)
    y = MatMul(x, wide)
"""


def expansion(call: Call) -> Expansion:
    """Where activations are half precision too, ``lower-precision`` takes the cast away again."""
    turned = call.laid_out("weight", transposed(call.recipe("weight"), (1, 0)), "transposed")
    return Expansion(TEXT, {"turned": turned})
