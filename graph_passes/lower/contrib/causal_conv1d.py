"""``CausalConv1d`` as ``CausalConvWithState``.

With ``channels_last`` the contrib op takes x [B,T,C] and state [B,K-1,C] as ours does; its weight
is [C,1,K]. It knows no padding: every row must have T tokens. On CPU it gives the same where past
and present state are one buffer (tried with onnxruntime 1.31 and 1.32); nothing promises so for
CUDA, so the state needs two.
"""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion
from deltaport.graph_passes.recipes.unsqueeze_recipe import unsqueezed

__all__ = ["expansion"]

TEXT = """
    taps = Cast<to = 1>(weight)
    y, new_state = com.microsoft.CausalConvWithState<activation = "silu", channels_last = 1>(
        x, taps, , state)
"""


def expansion(call: Call) -> Expansion:
    """One node, and an axis added to the recipe of the weight."""
    taps = call.laid_out("weight", unsqueezed(call.recipe("weight"), 1), "unsqueezed")
    return Expansion(TEXT, {"weight": taps})
