"""The parts of a decoder layer, each read from the flat text configuration and written back.

Missing fields: see ``model_spec``. ``to_json`` writes the fields that ``read`` reads, under the
names of transformers.
"""

from __future__ import annotations

from dataclasses import dataclass

from deltaport.exporter.config_fields import Fields

__all__ = ["AttentionSpec", "DenseMlpSpec", "LinearAttentionSpec", "SparseMoeSpec"]


@dataclass(frozen=True)
class AttentionSpec:
    """Gated softmax attention. ``q_proj`` yields query and gate: 2 * num_heads * head_dim rows."""

    num_heads: int
    num_key_value_heads: int
    head_dim: int
    bias: bool

    @classmethod
    def read(cls, text: Fields) -> AttentionSpec:
        """Read the full-attention fields; query heads must be a multiple of key/value heads."""
        heads, groups = text.size("num_attention_heads"), text.size("num_key_value_heads")
        _check_multiple(text, "num_attention_heads", heads, "num_key_value_heads", groups)
        bias = text.flag("attention_bias", default=False)
        return cls(heads, groups, text.size("head_dim"), bias)

    def to_json(self) -> dict[str, object]:
        """Fields of the text configuration."""
        return {
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "attention_bias": self.bias,
        }


@dataclass(frozen=True)
class LinearAttentionSpec:
    """Gated delta rule: a [key_head_dim, value_head_dim] state for each value head."""

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel_size: int

    @classmethod
    def read(cls, text: Fields) -> LinearAttentionSpec:
        """Read the ``linear_*`` fields; value heads must be a multiple of key heads."""
        keys, values = text.size("linear_num_key_heads"), text.size("linear_num_value_heads")
        _check_multiple(text, "linear_num_value_heads", values, "linear_num_key_heads", keys)
        return cls(
            num_key_heads=keys,
            num_value_heads=values,
            key_head_dim=text.size("linear_key_head_dim"),
            value_head_dim=text.size("linear_value_head_dim"),
            # A kernel of one has no state between steps, which every engine carries.
            conv_kernel_size=text.size("linear_conv_kernel_dim", least=2),
        )

    def to_json(self) -> dict[str, object]:
        """Fields of the text configuration."""
        return {
            "linear_num_key_heads": self.num_key_heads,
            "linear_num_value_heads": self.num_value_heads,
            "linear_key_head_dim": self.key_head_dim,
            "linear_value_head_dim": self.value_head_dim,
            "linear_conv_kernel_dim": self.conv_kernel_size,
        }

    @property
    def key_dim(self) -> int:
        """Width of all keys (and of all queries) together."""
        return self.num_key_heads * self.key_head_dim

    @property
    def value_dim(self) -> int:
        """Width of all values together, and of the output gate."""
        return self.num_value_heads * self.value_head_dim

    @property
    def conv_dim(self) -> int:
        """Channels of the causal convolution: queries, keys and values."""
        return 2 * self.key_dim + self.value_dim


@dataclass(frozen=True)
class DenseMlpSpec:
    """SwiGLU of one width."""

    intermediate_size: int

    @classmethod
    def read(cls, text: Fields) -> DenseMlpSpec:
        """Read ``intermediate_size``."""
        return cls(text.size("intermediate_size"))

    def to_json(self) -> dict[str, object]:
        """Fields of the text configuration."""
        return {"intermediate_size": self.intermediate_size}


@dataclass(frozen=True)
class SparseMoeSpec:
    """``top_k`` of ``num_experts`` SwiGLU experts, weights summing to 1, and a gated shared one."""

    num_experts: int
    top_k: int
    expert_intermediate_size: int
    shared_intermediate_size: int

    @classmethod
    def read(cls, text: Fields) -> SparseMoeSpec:
        """Read the expert fields; no more experts per token than there are."""
        num_experts, top_k = text.size("num_experts"), text.size("num_experts_per_tok")
        if top_k > num_experts:
            raise text.error(
                "num_experts_per_tok", f"is {top_k}; expected at most num_experts ({num_experts})"
            )
        return cls(
            num_experts=num_experts,
            top_k=top_k,
            expert_intermediate_size=text.size("moe_intermediate_size"),
            shared_intermediate_size=text.size("shared_expert_intermediate_size"),
        )

    def to_json(self) -> dict[str, object]:
        """Fields of the text configuration."""
        return {
            "num_experts": self.num_experts,
            "num_experts_per_tok": self.top_k,
            "moe_intermediate_size": self.expert_intermediate_size,
            "shared_expert_intermediate_size": self.shared_intermediate_size,
        }


def _check_multiple(text: Fields, name: str, value: int, base_name: str, base: int) -> None:
    if value % base:
        raise text.error(name, f"is {value}; expected a multiple of {base_name} ({base})")
