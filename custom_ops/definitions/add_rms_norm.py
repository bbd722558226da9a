"""The sum of the residual stream and a sublayer's output, and its RMS norm.

Source of the maths: Zhang and Sennrich, "Root Mean Square Layer Normalization" (arXiv 1910.07467).
"""

from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port

__all__ = ["ADD_RMS_NORM"]

DOC = """\
    sum = x + residual
    y = sum / sqrt(mean(sum^2) + norm_eps) * scale      mean over H
Tokens do not mix: what a padded token holds stays its own.
"""

BODY = """
    sum = Add(x, residual)
    y = RMSNormalization<axis = -1, epsilon: float = @norm_eps>(sum, scale)
"""

ADD_RMS_NORM = OpDefinition(
    name="AddRMSNorm",
    doc=DOC,
    inputs=(
        Port("x", "float", "B,T,H", "one addend"),
        Port("residual", "float", "B,T,H", "the other"),
        Port("scale", "float", "H", "scale of the norm"),
    ),
    outputs=(
        Port("y", "float", "B,T,H", "the sum, normed"),
        Port("sum", "float", "B,T,H", "the sum"),
    ),
    body=BODY,
    attributes={"norm_eps": Attribute("float", "added to the mean square", default=1e-6)},
)
