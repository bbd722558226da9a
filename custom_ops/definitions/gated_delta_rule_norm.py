"""The gated delta rule with the gated RMS norm that follows it.

Source of the maths: ``Qwen3_5MoeRMSNormGated`` of ``transformers.models.qwen3_5_moe`` for the norm;
for the rule see ``gated_delta_rule``.
"""

from deltaport.custom_ops.definitions.gated_delta_rule import (
    NEW_STATE,
    NORM_EPS,
    RULE_INPUTS,
    delta_rule_body,
)
from deltaport.custom_ops.definitions.op_definition import Attribute, OpDefinition, Port

__all__ = ["GATED_DELTA_RULE_NORM"]

DOC = """\
The rule and its state are those of GatedDeltaRule, whose read-out r has Hv heads of Dv:
    o = r / sqrt(mean(r^2) + output_norm_eps) * norm * silu(z)      mean over each head
o is 0 where padded. B >= 1 and T >= 1.
"""

BODY = (
    delta_rule_body("read_out")
    + """
    value_heads_shape = Concat<axis = 0>(zero_1, zero_1, n_value_heads, value_head_dim)
    value_flat_shape = Concat<axis = 0>(zero_1, zero_1, value_dim)
    read_out_heads = Reshape(read_out, value_heads_shape)
    normed_heads = RMSNormalization<axis = -1, epsilon: float = @output_norm_eps>(
        read_out_heads, norm)
    normed = Reshape(normed_heads, value_flat_shape)
    z_sigmoid = Sigmoid(z)
    z_silu = Mul(z, z_sigmoid)
    gated = Mul(normed, z_silu)
    o = Where(valid_3d, gated, f_zero)
"""
)

GATED_DELTA_RULE_NORM = OpDefinition(
    name="GatedDeltaRuleNorm",
    doc=DOC,
    inputs=(
        RULE_INPUTS["qkv"],
        Port("z", "float", "B,T,Hv*Dv", "logits of the output gate"),
        *(RULE_INPUTS[name] for name in ("a", "b", "A_log", "dt_bias")),
        Port("norm", "float", "Dv", "scale of the output norm"),
        *(RULE_INPUTS[name] for name in ("state", "lengths")),
    ),
    outputs=(Port("o", "float", "B,T,Hv*Dv", "normed and gated, 0 where padded"), NEW_STATE),
    in_place=(("state", "new_state"),),
    float32=("A_log", "dt_bias", "norm", "state", "new_state"),
    body=BODY,
    attributes={
        "norm_eps": NORM_EPS,
        "output_norm_eps": Attribute(
            "float", "added to the mean square in the output norm", default=1e-6
        ),
    },
)
