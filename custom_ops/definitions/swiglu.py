"""The gate of a SwiGLU feed-forward, on a product that holds both projections.

Source of the maths: Shazeer, "GLU Variants Improve Transformer" (arXiv 2002.05202).
"""

from deltaport.custom_ops.definitions.op_definition import OpDefinition, Port

__all__ = ["SWIGLU"]

DOC = """\
    y = silu(gate) * up     gate the first half of the last axis, up the second
silu(g) = g * sigmoid(g).
Tokens do not mix: what a padded token holds stays its own.
"""

BODY = """
    gate, up = Split<axis = -1, num_outputs = 2>(gate_up)
    sigmoid = Sigmoid(gate)
    silu = Mul(gate, sigmoid)
    y = Mul(silu, up)
"""

SWIGLU = OpDefinition(
    name="SwiGLU",
    doc=DOC,
    inputs=(Port("gate_up", "float", "B,T,2*I", "gate, then up"),),
    outputs=(Port("y", "float", "B,T,I", "gated"),),
    body=BODY,
)
