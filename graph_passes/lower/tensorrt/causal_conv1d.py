"""``CausalConv1d`` in standard ops: one shifted product a tap.

It knows no padding: every row must have T tokens.
"""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

BEGIN = """
    axis_1 = Constant<value_ints = [1]>()
    all_tokens = Shape<start = 1, end = 2>(x)
    inputs = Concat<axis = 1>(state, x)
    taps = Cast<to = {dtype}>(weight_turned)
"""
TAP = """
    first_{j} = Constant<value_ints = [{j}]>()
    last_{j} = Add(all_tokens, first_{j})
    window_{j} = Slice(inputs, first_{j}, last_{j}, axis_1)
    tap_{j} = Gather<axis = 0>(taps, first_{j})
    term_{j} = Mul(window_{j}, tap_{j})
"""
SUM = """
    sum_{j} = Add({before}, term_{j})
"""
END = """
    gate = Sigmoid({total})
    y = Mul({total}, gate)
    end = Add(all_tokens, first_{kept})
    new_state = Slice(inputs, all_tokens, end, axis_1)
"""


def expansion(call: Call) -> Expansion:
    """The new state is the window behind the last token."""
    taps = call.size("weight", 1)
    text, total = BEGIN.format(dtype=call.dtype("x").value), "term_0"
    for j in range(taps):
        text += TAP.format(j=j)
        if j > 0:
            text, total = text + SUM.format(j=j, before=total), f"sum_{j}"
    text += END.format(total=total, kept=taps - 1)
    return Expansion(text, call.turned("weight"))
