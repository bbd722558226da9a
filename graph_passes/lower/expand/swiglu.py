"""``SwiGLU`` in standard ops."""

from __future__ import annotations

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion

__all__ = ["expansion"]

# onnxruntime fuses the sigmoid with the first product itself, on every device.
TEXT = """
    gate, up = Split<axis = -1, num_outputs = 2>(gate_up)
    gate_sigmoid = Sigmoid(gate)
    gate_silu = Mul(gate, gate_sigmoid)
    y = Mul(gate_silu, up)
"""


def expansion(call: Call) -> Expansion:
    """The gate is the first half of the last axis."""
    del call
    return Expansion(TEXT)
