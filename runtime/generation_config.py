"""What a checkpoint recommends for sampling, in its ``generation_config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deltaport.errors import EngineError, InputError
from deltaport.package.bounded_file import COPY_AGAIN, read_bounded
from deltaport.runtime.sampling_params import SamplingParams
from deltaport.strict_json import JsonProblem, one_line, parse_object, quote

__all__ = ["GENERATION_CONFIG_NAME", "recommended"]

GENERATION_CONFIG_NAME = "generation_config.json"
SIZE_LIMIT = 1 << 20
"""Bytes such a file may have; real ones have a few hundred."""

_ALWAYS = {
    "repetition_penalty": "repetition_penalty",
    "suppress_tokens": "suppress_tokens",
    "min_new_tokens": "min_new_tokens",
    "max_new_tokens": "max_new_tokens",
    "stop_strings": "stop",
}
"""Fields that count in any case, and what they are called here."""
_SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
"""Fields that count with ``do_sample``, and what transformers 5.23 takes where they are absent."""
_SAMPLING_ONLY = {"top_h", "epsilon_cutoff", "eta_cutoff"}
"""Filters that deltaport does not have, which count with ``do_sample``."""
_HARMLESS = {
    # token ids that have their place elsewhere, or none in a decoder
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
    # the whole length counts the prompt: what holds here is the context
    *("max_length",),
    # how transformers computes, and what it returns beside the tokens
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "compile_config"),
    *("disable_compile", "continuous_batching_config", "low_memory", "prefill_chunk_size"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("return_dict_in_generate", "renormalize_logits", "remove_invalid_values"),
    # beam search, which is refused by its own fields
    *("early_stopping", "length_penalty"),
    # speculation, which gives the same distribution
    *("use_mtp", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule"),
    *("assistant_confidence_threshold", "assistant_early_exit", "assistant_lookbehind"),
    *("assistant_ensemble_weight", "target_lookbehind", "prompt_lookup_num_tokens"),
    *("max_matching_ngram_size", "speculation_type"),
    # where the file comes from
    *("transformers_version", "_from_model_config", "_commit_hash"),
}
_DEFAULTS: dict[str, object] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "encoder_repetition_penalty": 1.0,
    "guidance_scale": 1,
}
"""Values, other than null and those that are empty or zero, that say what is done anyway."""


def recommended(folder: Path) -> dict[str, Any]:
    """Fields of ``SamplingParams`` that ``folder`` recommends; none without the file.

    The file is untrusted. Raises ``EngineError`` for one that is damaged, ``InputError`` for what
    it asks for and deltaport does not do: nothing that changes the output is passed over.
    """
    path = folder / GENERATION_CONFIG_NAME
    document = _read(path)
    if document is None:
        return {}
    sampling = document.pop("do_sample", None)
    if sampling is not None and not isinstance(sampling, bool):
        raise EngineError(f"{path}: do_sample is {quote(sampling)}, expected true or false")
    fields = {
        ours: value
        for theirs, ours in _ALWAYS.items()
        if (value := document.pop(theirs, None)) is not None
    }
    for name, default in _SAMPLING.items():
        value = document.pop(name, None)
        if sampling:
            fields[name] = default if value is None else value
    if document.get("min_length") and "min_new_tokens" in fields:
        del document["min_length"]  # which transformers replaces by the other
    for name, value in document.items():
        _check_harmless(path, name, value, sampling=bool(sampling))
    if isinstance(stop := fields.get("stop"), str):
        fields["stop"] = (stop,)
    if sampling and fields["temperature"] == 0:
        raise EngineError(
            f"{path}: do_sample with temperature 0; expected a temperature above 0, or no do_sample"
        )
    try:
        SamplingParams(**fields)
    except InputError as error:
        raise EngineError(f"{path}: {error}") from None
    return fields


def _check_harmless(path: Path, name: str, value: object, *, sampling: bool) -> None:
    """Refuse a field that makes transformers generate what deltaport would not."""
    if name in _HARMLESS or not value or value == _DEFAULTS.get(name):
        return
    if name in _SAMPLING_ONLY and not sampling:
        return
    raise InputError(
        f"{path}: {one_line(name)[:60]} is {quote(value)}, which deltaport does not do; leave the "
        "file's recommendation aside (--greedy, or SamplingParams of your own), or take the field "
        "out of it"
    )


def _read(path: Path) -> dict[str, Any] | None:
    data = read_bounded(path, SIZE_LIMIT, too_large=", not a generation config")
    if data is None:
        return None
    try:
        return parse_object(data)
    except JsonProblem as problem:
        raise EngineError(f"{path}: {problem}; {COPY_AGAIN}") from None
