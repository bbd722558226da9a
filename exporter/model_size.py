"""Parameter names, shapes and counts of a :class:`ModelSpec`, and the size of its state.

Names are those of the text model in transformers 5.23, without the ``language_model.`` a wrapped
checkpoint inserts. Shapes are checked against transformers' own modules in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from deltaport.exporter.model_spec import (
    AttentionSpec,
    DenseMlpSpec,
    LinearAttentionSpec,
    ModelSpec,
    SparseMoeSpec,
)
from deltaport.weight_roles import role_of

__all__ = [
    "WEIGHT_ALIGNMENT",
    "active_parameter_count",
    "packed_bytes",
    "parameter_count",
    "parameter_shapes",
    "state_bytes_per_sequence",
    "state_bytes_per_token",
    "stored_as_float32",
]

WEIGHT_ALIGNMENT = 4096
"""Weights of an engine start on pages, so that a runtime can map any of them."""

Shape = tuple[int, ...]

_FLOAT32_BYTES = 4


def parameter_shapes(spec: ModelSpec) -> dict[str, Shape]:
    """Every parameter of the text model, in checkpoint order of the layers.

    Linear weights are [out, in]. ``lm_head.weight`` is absent when tied to the embedding.
    """
    hidden = spec.hidden_size
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (spec.vocab_size, hidden)}
    mixers = {
        "linear_attention": _linear_attention_shapes(spec.linear_attention, hidden),
        "full_attention": _attention_shapes(spec.attention, hidden),
    }
    mlp = _mlp_shapes(spec.mlp, hidden)
    norms = {"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)}
    for i, kind in enumerate(spec.layer_kinds):
        for name, shape in (mixers[kind] | mlp | norms).items():
            shapes[f"model.layers.{i}.{name}"] = shape
    shapes["model.norm.weight"] = (hidden,)
    if not spec.tie_word_embeddings:
        shapes["lm_head.weight"] = (spec.vocab_size, hidden)
    return shapes


def stored_as_float32(name: str, shape: Shape) -> bool:
    """Whether engines store a parameter as float32 whatever the dtype of the matrices.

    Norms, gates and convolution taps: that loses nothing and costs next to nothing.
    """
    return len(shape) < 2 or name.endswith("conv1d.weight")


def packed_bytes(sizes: Iterable[int]) -> int:
    """Bytes of a file of weights of these sizes, each starting on a page."""
    end = 0
    for size in sizes:
        end += -end % WEIGHT_ALIGNMENT + size
    return end


def parameter_count(spec: ModelSpec) -> int:
    """Parameters of the text model; tied embeddings count once, vision and MTP weights not."""
    return sum(math.prod(shape) for shape in parameter_shapes(spec).values())


def active_parameter_count(spec: ModelSpec) -> int:
    """Parameters that are multiplied with something for one token, the "A17B" of a model name.

    Of the routed experts ``top_k`` count. The embedding table counts out, because a token copies
    one row of it; the output head counts whole, also when it is that same table.
    """
    count = 0
    for name, shape in parameter_shapes(spec).items():
        role, size = role_of(name), math.prod(shape)
        if role == "embedding" and not spec.tie_word_embeddings:
            continue
        if role == "experts" and isinstance(spec.mlp, SparseMoeSpec):
            size = size // spec.mlp.num_experts * spec.mlp.top_k
        count += size
    return count


def state_bytes_per_sequence(spec: ModelSpec) -> int:
    """Bytes of float32 state a sequence holds whatever its length, over the linear layers.

    A layer keeps conv_dim x (conv_kernel_size - 1) past inputs of its convolution and one
    [key_head_dim, value_head_dim] matrix per value head.
    """
    linear = spec.linear_attention
    conv = linear.conv_dim * (linear.conv_kernel_size - 1)
    recurrent = linear.num_value_heads * linear.key_head_dim * linear.value_head_dim
    return _FLOAT32_BYTES * len(spec.layers_of("linear_attention")) * (conv + recurrent)


def state_bytes_per_token(spec: ModelSpec) -> int:
    """Bytes of float32 keys and values each token adds, over the full-attention layers."""
    key_value = 2 * spec.attention.num_key_value_heads * spec.attention.head_dim
    return _FLOAT32_BYTES * len(spec.layers_of("full_attention")) * key_value


def _linear_attention_shapes(linear: LinearAttentionSpec, hidden: int) -> dict[str, Shape]:
    heads = linear.num_value_heads
    return {
        "linear_attn.in_proj_qkv.weight": (linear.conv_dim, hidden),
        "linear_attn.in_proj_z.weight": (linear.value_dim, hidden),
        "linear_attn.in_proj_b.weight": (heads, hidden),
        "linear_attn.in_proj_a.weight": (heads, hidden),
        "linear_attn.conv1d.weight": (linear.conv_dim, 1, linear.conv_kernel_size),
        "linear_attn.A_log": (heads,),
        "linear_attn.dt_bias": (heads,),
        "linear_attn.norm.weight": (linear.value_head_dim,),
        "linear_attn.out_proj.weight": (hidden, linear.value_dim),
    }


def _attention_shapes(attention: AttentionSpec, hidden: int) -> dict[str, Shape]:
    query = attention.num_heads * attention.head_dim
    key_value = attention.num_key_value_heads * attention.head_dim
    # q_proj interleaves, head by head, the query and the gate on the attention output.
    rows = {"q_proj": 2 * query, "k_proj": key_value, "v_proj": key_value}
    shapes: dict[str, Shape] = {}
    for name, columns_out in rows.items():
        shapes[f"self_attn.{name}.weight"] = (columns_out, hidden)
    shapes["self_attn.o_proj.weight"] = (hidden, query)
    if attention.bias:
        for name, columns_out in (rows | {"o_proj": hidden}).items():
            shapes[f"self_attn.{name}.bias"] = (columns_out,)
    shapes["self_attn.q_norm.weight"] = (attention.head_dim,)
    shapes["self_attn.k_norm.weight"] = (attention.head_dim,)
    return shapes


def _mlp_shapes(mlp: DenseMlpSpec | SparseMoeSpec, hidden: int) -> dict[str, Shape]:
    if isinstance(mlp, DenseMlpSpec):
        return _swiglu_shapes("mlp", mlp.intermediate_size, hidden)
    experts, width = mlp.num_experts, mlp.expert_intermediate_size
    return {
        "mlp.gate.weight": (experts, hidden),
        "mlp.experts.gate_up_proj": (experts, 2 * width, hidden),
        "mlp.experts.down_proj": (experts, hidden, width),
        **_swiglu_shapes("mlp.shared_expert", mlp.shared_intermediate_size, hidden),
        "mlp.shared_expert_gate.weight": (1, hidden),
    }


def _swiglu_shapes(prefix: str, width: int, hidden: int) -> dict[str, Shape]:
    return {
        f"{prefix}.gate_proj.weight": (width, hidden),
        f"{prefix}.up_proj.weight": (width, hidden),
        f"{prefix}.down_proj.weight": (hidden, width),
    }
