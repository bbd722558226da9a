"""A product with a weight that is stored narrower than it is computed with."""

from deltaport.custom_ops.definitions.op_definition import OpDefinition, Port

__all__ = ["LINEAR"]

DOC = """\
    y = x weight^T
computed in float32, however the weight is stored. (MatMul wants both of one type.)
Tokens do not mix: what a padded token holds stays its own.
"""

BODY = """
    weight_f = Cast<to = 1>(weight)
    weight_t = Transpose<perm = [1, 0]>(weight_f)
    y = MatMul(x, weight_t)
"""

LINEAR = OpDefinition(
    name="Linear",
    doc=DOC,
    inputs=(
        Port("x", "float", "B,T,Ki", "activations"),
        Port("weight", "T", "No,Ki", "one row for each output"),
    ),
    outputs=(Port("y", "float", "B,T,No", "product"),),
    body=BODY,
)
