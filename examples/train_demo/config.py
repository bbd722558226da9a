"""What the demo checkpoint's ``config.json`` says.

The proportions are those of the 35B-A3B model: eight query heads to a key/value head, two value
heads to a key head, three linear-attention layers to a full-attention one. All widths are multiples
of the block sizes that quantization uses.
"""

from __future__ import annotations

from deltaport.exporter.model_spec import ModelSpec

__all__ = ["CONFIG", "NUM_EXPERTS", "TOP_K", "VOCAB_SIZE", "demo_spec"]

VOCAB_SIZE = 3072
NUM_EXPERTS, TOP_K = 16, 4

CONFIG: dict[str, object] = {
    "architectures": ["Qwen3_5MoeForCausalLM"],
    "model_type": "qwen3_5_moe_text",
    "dtype": "bfloat16",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 256,
    "hidden_act": "silu",
    "num_hidden_layers": 8,
    "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 2,
    "full_attention_interval": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
    "num_experts": NUM_EXPERTS,
    "num_experts_per_tok": TOP_K,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "max_position_embeddings": 32768,
    "mtp_num_hidden_layers": 1,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1000000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [3, 3, 2],
        "mrope_interleaved": True,
    },
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "use_cache": True,
    "eos_token_id": 0,
}


def demo_spec() -> ModelSpec:
    """The model that ``CONFIG`` describes."""
    return ModelSpec.from_config(CONFIG, source="config.py")
