"""Which fields of a Qwen3.5 ``config.json`` are read, harmless, or refused.

A field that changes the maths and is not supported is an error that names it, never ignored. So
every field is one of: read by ``model_spec``; fixed to the values below; refused unless unset;
known not to matter for inference; or unknown, and then an error unless it is unset (null, false,
0, "", [] or {}) or accepted by name.

Source: configuration and modelling files of transformers 5.23 (qwen3_5, qwen3_5_moe), the fields
of published Qwen3.5 checkpoints, and what ``save_pretrained`` writes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from deltaport.exporter.config_fields import Fields, names_in, show, show_name

__all__ = ["Family", "check_architectures", "check_fields", "family_of"]


@dataclass(frozen=True)
class Family:
    """What a ``model_type`` implies: the text model's type, its MLP, whether it is nested."""

    text_type: str
    is_moe: bool
    wrapped: bool

    @property
    def architectures(self) -> tuple[str, str]:
        """Class names with a language-model head: the only ones whose logits are exported."""
        stem = "Qwen3_5Moe" if self.is_moe else "Qwen3_5"
        return f"{stem}ForCausalLM", f"{stem}ForConditionalGeneration"


_FAMILIES = {
    "qwen3_5": Family("qwen3_5_text", is_moe=False, wrapped=True),
    "qwen3_5_text": Family("qwen3_5_text", is_moe=False, wrapped=False),
    "qwen3_5_moe": Family("qwen3_5_moe_text", is_moe=True, wrapped=True),
    "qwen3_5_moe_text": Family("qwen3_5_moe_text", is_moe=True, wrapped=False),
}

# Fields the model code could vary; the exporter writes exactly one variant.
_FIXED: dict[str, tuple[object, ...]] = {
    "attn_output_gate": (True,),
    "decoder_sparse_step": (1,),
    "hidden_act": ("silu",),
    "mamba_ssm_dtype": ("float32",),
    "norm_topk_prob": (True,),
    "output_gate_type": ("silu", "swish"),  # two names of one function
}

# Fields that change the maths whenever they are set; the text is the remedy.
_REFUSED = {
    "add_cross_attention": "",
    "attention_chunk_size": "",
    "attn_logit_softcapping": "",
    "compression_config": "export the unquantized checkpoint",
    "cross_attention_hidden_size": "",
    "final_logit_softcapping": "",
    "is_encoder_decoder": "",
    "logit_softcapping": "",
    "mlp_only_layers": "",
    # transformers lets this top-level field override the one inside rope_parameters.
    "original_max_position_embeddings": "give it inside rope_parameters",
    "per_layer_config": "",
    "pruned_heads": "",
    "quantization_config": "export the unquantized checkpoint",
    "router_logit_softcapping": "",
    "sliding_window": "",
    "use_sliding_window": "",
}

# Training, caching, labels, token ids, provenance, and sampling defaults of older versions.
_HARMLESS = names_in(
    """
    _attn_implementation _attn_implementation_autoset _commit_hash _experts_implementation
    _name_or_path attention_dropout attn_implementation bos_token_id chunk_size_feed_forward
    decoder_start_token_id dtype experts_implementation full_attention_interval id2label
    image_token_id initializer_range is_decoder label2id max_window_layers name_or_path num_labels
    output_attentions output_hidden_states output_router_logits pad_token_id prefix problem_type
    return_dict router_aux_loss_coef sep_token_id task_specific_params tokenizer_class torch_dtype
    torchscript transformers_version use_cache video_token_id vision_end_token_id
    vision_start_token_id vision_token_id

    bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff eta_cutoff
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty
    max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    output_scores remove_invalid_values repetition_penalty return_dict_in_generate suppress_tokens
    temperature top_k top_p typical_p
    """
)

_WRAPPER_FIELDS = names_in(
    "architectures eos_token_id model_type text_config tie_word_embeddings vision_config"
)

# intermediate_size belongs to both: a sparse model has no dense layer for it to size.
_TEXT_FIELDS = names_in(
    """
    architectures attention_bias eos_token_id head_dim hidden_size intermediate_size layer_types
    linear_conv_kernel_dim linear_key_head_dim linear_num_key_heads linear_num_value_heads
    linear_value_head_dim max_position_embeddings model_type mtp_num_hidden_layers
    num_attention_heads num_hidden_layers num_key_value_heads partial_rotary_factor rms_norm_eps
    rope_parameters rope_scaling rope_theta tie_word_embeddings vocab_size
    """
)

_MOE_FIELDS = names_in(
    "moe_intermediate_size num_experts num_experts_per_tok shared_expert_intermediate_size"
)


def family_of(config: Fields) -> Family:
    """Look up ``model_type``; one that is missing or not supported is a ConfigError."""
    supported = "one of " + ", ".join(_FAMILIES)
    value = config.get("model_type")
    if not isinstance(value, str) or value not in _FAMILIES:
        raise config.reject("model_type", supported)
    return _FAMILIES[value]


def check_architectures(config: Fields, family: Family) -> None:
    """Refuse checkpoints without a language-model head, such as sequence classifiers."""
    if config.get("architectures") is None:
        return
    for name in config.items("architectures"):
        if name not in family.architectures:
            expected = " or ".join(family.architectures)
            raise config.error("architectures", f"contains {show(name)}; expected {expected}")


def check_fields(
    config: Fields, family: Family, *, wrapper: bool, accept_fields: Collection[str] | None
) -> None:
    """Check the name of every field of one object, and the value of those that are not read.

    ``config`` is the whole file, or its ``text_config``; ``wrapper`` tells whether it is the outer
    object of a nested configuration. ``accept_fields`` are unknown fields to ignore, spelled as
    the error spells them (``text_config.NAME`` when nested); None where the user has no way to
    accept any. Raises ConfigError when a field has an unsupported value, or is unknown and set.
    """
    known = _WRAPPER_FIELDS if wrapper else _TEXT_FIELDS
    if family.is_moe and not wrapper:
        known |= _MOE_FIELDS
    for name, value in config.values.items():
        if not isinstance(name, str):
            raise config.error(f"a field named by a {type(name).__name__}", "is not JSON")
        if name in _FIXED:
            _check_fixed(config, name, value)
        elif name in _REFUSED:
            _check_unset(config, name, value)
        elif name not in known and name not in _HARMLESS and value:
            _check_accepted(config, name, accept_fields)


def _check_fixed(config: Fields, name: str, value: object) -> None:
    allowed = _FIXED[name]
    # The types must agree too: 1 == True in Python.
    if not any(type(value) is type(other) and value == other for other in allowed):
        only = " or ".join(show(other) for other in allowed)
        raise config.error(name, f"is {show(value)}; only {only} is supported")


def _check_unset(config: Fields, name: str, value: object) -> None:
    if value:
        remedy = f": {_REFUSED[name]}" if _REFUSED[name] else ""
        raise config.error(name, f"is {show(value)}; only null or unset is supported{remedy}")


def _check_accepted(config: Fields, name: str, accept_fields: Collection[str] | None) -> None:
    remedy = ""
    if accept_fields is not None:
        full_name = config.prefix + name
        if full_name in accept_fields:
            return
        remedy = (
            "; if it does not change the model's output, accept it with "
            f"--accept-config-field {show_name(full_name)}"
        )
    found = show(config.values[name])
    raise config.error(name, f"is unknown to deltaport and set to {found}{remedy}")
