"""Oracle of ``GatedDeltaRuleNorm``: the recurrence, then each head's norm and gate."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, rms_norm, silu
from tests.oracles.gated_delta_rule import gated_delta_rule

__all__ = ["gated_delta_rule_norm"]


def gated_delta_rule_norm(
    qkv: Array,
    z: Array,
    a: Array,
    b: Array,
    A_log: Array,
    dt_bias: Array,
    norm: Array,
    state: Array,
    lengths: Array,
    norm_eps: float = 1e-6,
    output_norm_eps: float = 1e-6,
) -> tuple[Doubles, Doubles]:
    """Return (o [B,T,Hv*Dv], new_state [B,Hv,Dk,Dv])."""
    read_out, new_state = gated_delta_rule(qkv, a, b, A_log, dt_bias, state, lengths, norm_eps)
    _, Hv, _, Dv = state.shape
    o = np.zeros(read_out.shape)
    for row, length in enumerate(lengths):
        for t in range(length):
            normed = rms_norm(read_out[row, t].reshape(Hv, Dv), norm, output_norm_eps)
            o[row, t] = normed.ravel() * silu(doubles(z[row, t]))
    return o, new_state
