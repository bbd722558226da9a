"""What the gated delta rule makes of its inputs before it begins, as ONNX text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.rewriting import constant

__all__ = ["GATES", "UNIT_KEYS", "DeltaRuleSizes"]

# l2norm(x) = x / sqrt(sum(x^2) + eps) is an RMS norm of epsilon eps / Dk with scale Dk^-0.5. One
# serves queries and keys: they lie side by side.
UNIT_KEYS = """
    packed = Constant<value_ints = [{both_key_dims}, {value_dim}]>()
    heads = Constant<value_ints = [0, 0, {both_key_heads}, {key_head_dim}]>()
    qk, v = Split<axis = 2>({qkv}, packed)
    qk_heads = Reshape(qk, heads)
    qk_normed = RMSNormalization<axis = -1, epsilon = {l2_eps}>(qk_heads, unit_length)
"""
"""Makes ``v`` [B,T,Hv*Dv] and ``qk_normed`` [B,T,2*Hk,Dk], unit vectors, of ``{qkv}``."""

# Spelled out as in the body of our op: onnxruntime's Sigmoid is 7% off at -14.
GATES = """
    rate = Exp(A_log)
    a_biased = Add({a}, dt_bias)
    step = Softplus(a_biased)
    decay = Mul(rate, step)
    log_decay = Neg(decay)
    one = Constant<value_float = 1.0>()
    b_negated = Neg({b})
    b_exp = Exp(b_negated)
    b_divisor = Add(b_exp, one)
    beta = Div(one, b_divisor)
"""
"""Makes ``log_decay`` and ``beta`` [B,T,Hv] of the logits ``{a}`` and ``{b}``."""


@dataclass(frozen=True)
class DeltaRuleSizes:
    """The sizes of a call of ``GatedDeltaRule`` or ``GatedDeltaRuleNorm``."""

    call: Call
    value_heads: int
    key_head_dim: int
    value_head_dim: int

    @classmethod
    def of(cls, call: Call) -> DeltaRuleSizes:
        """Raises ``PassError`` where they are not known."""
        return cls(call, *(call.size("state", axis) for axis in (1, 2, 3)))

    @property
    def value_dim(self) -> int:
        """Width of all value heads."""
        return self.value_heads * self.value_head_dim

    @property
    def both_key_dims(self) -> int:
        """Width of all query and key heads."""
        return self.call.size("qkv", 2) - self.value_dim

    @property
    def key_heads(self) -> int:
        """Heads of keys, and as many of queries."""
        return self.both_key_dims // (2 * self.key_head_dim)

    def unit_keys(self, qkv: str) -> str:
        """:data:`UNIT_KEYS` of these sizes."""
        return UNIT_KEYS.format(
            qkv=qkv,
            both_key_dims=self.both_key_dims,
            both_key_heads=2 * self.key_heads,
            key_head_dim=self.key_head_dim,
            value_dim=self.value_dim,
            l2_eps=self.call.number("norm_eps") / self.key_head_dim,
        )

    @property
    def values(self) -> dict[str, ir.Value]:
        """What :data:`UNIT_KEYS` reads besides the inputs of the call."""
        graph = self.call.node.graph
        assert graph is not None, "passes rewrite nodes that are in a graph"
        scale = np.full(self.key_head_dim, self.key_head_dim**-0.5, np.float32)
        return {"unit_length": constant(graph, scale)}
