"""Tiny Qwen3.5-family checkpoints, written by transformers itself.

The weights are random but well behaved: sublayers add a modest amount to the residual stream, and
routers tell experts clearly apart, so that two correct implementations agree to rounding instead
of drifting apart. No weight has a value that could hide a bug: norms are not all ones, gates are
not all alike.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors.torch import load_file, save_file

__all__ = ["CORPUS", "VOCAB_SIZE", "build_model", "save_checkpoint", "save_tokenizer"]

Kind = Literal["dense", "moe"]

VOCAB_SIZE = 300

CORPUS = (
    "The quick brown fox jumps over the lazy dog, and the dog sleeps through the whole show.",
    "A gated delta rule keeps what it needs and forgets the rest; the rest is not missed.",
    "Grüße aus Zürich! ¿Qué tal? 你好世界。 Привет, мир. 🦊🌍",
)
"""What the tokenizer is trained on: ASCII, and characters of two, three and four bytes."""

_TEXT_CONFIG: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "max_position_embeddings": 4096,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    },
}
_MLP_CONFIG: dict[Kind, dict[str, Any]] = {
    "dense": {"intermediate_size": 96},
    "moe": {
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 48,
    },
}
_VISION_CONFIG: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 48,
    "patch_size": 4,
    "out_hidden_size": 64,
    "num_position_embeddings": 16,
}
_CLASSES = {
    ("dense", False): ("Qwen3_5TextConfig", "Qwen3_5ForCausalLM"),
    ("dense", True): ("Qwen3_5Config", "Qwen3_5ForConditionalGeneration"),
    ("moe", False): ("Qwen3_5MoeTextConfig", "Qwen3_5MoeForCausalLM"),
    ("moe", True): ("Qwen3_5MoeConfig", "Qwen3_5MoeForConditionalGeneration"),
}


def save_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    kind: Kind = "moe",
    wrapped: bool = False,
    tie: bool = False,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str | int = "50GB",
    per_expert: bool = False,
    mtp_tensors: int = 0,
    tokenizer: bool = False,
    **overrides: Any,
) -> Path:
    """Write a checkpoint to ``folder`` and return it.

    ``overrides`` replace fields of the text configuration. ``per_expert`` stores every expert as
    tensors of its own; otherwise a layer's experts are fused into two tensors. ``mtp_tensors`` adds
    that many tensors of a multi-token-prediction head, which transformers ignores.
    """
    model = build_model(seed=seed, kind=kind, wrapped=wrapped, tie=tie, dtype=dtype, **overrides)
    # What transformers calls the original format has every expert on its own.
    model.save_pretrained(folder, max_shard_size=max_shard_size, save_original_format=per_expert)
    if mtp_tensors:
        _add_mtp_tensors(folder, mtp_tensors)
    if tokenizer:
        save_tokenizer(folder)
    return folder


def build_model(
    *,
    seed: int = 0,
    kind: Kind = "moe",
    wrapped: bool = False,
    tie: bool = False,
    dtype: torch.dtype = torch.float32,
    **overrides: Any,
) -> Any:
    """A transformers model in evaluation mode; arguments as for :func:`save_checkpoint`."""
    text = _TEXT_CONFIG | _MLP_CONFIG[kind] | {"tie_word_embeddings": tie} | overrides
    config_name, model_name = _CLASSES[kind, wrapped]
    config_class = getattr(transformers, config_name)
    if wrapped:
        vision = _VISION_CONFIG | {"out_hidden_size": text["hidden_size"]}
        config = config_class(text_config=text, vision_config=vision, tie_word_embeddings=tie)
    else:
        config = config_class(**text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for the vision tower, which transformers initialises
        model = getattr(transformers, model_name)(config)
    _fill(model, torch.Generator().manual_seed(seed), tie)
    return model.to(dtype).eval()


def save_tokenizer(folder: Path, vocab_size: int = VOCAB_SIZE) -> Path:
    """Train a byte-level BPE tokenizer, of the make Qwen uses, and write its ``tokenizer.json``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@torch.no_grad()
def _fill(model: Any, generator: torch.Generator, tie: bool) -> None:
    """Overwrite the parameters of the text model."""
    for name, parameter in model.named_parameters():
        if "visual." not in name:
            parameter.copy_(_values(name, parameter.shape, generator, tie))


def _values(name: str, shape: torch.Size, generator: torch.Generator, tie: bool) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("embed_tokens.weight"):
        # A tied table also makes the logits, which then are of a size with a separate head's.
        return noise * (0.25 if tie else 1.0)
    if name.endswith("linear_attn.norm.weight"):
        return 1 + 0.1 * noise
    if name.endswith("norm.weight"):  # zero-centred: the model adds one
        return 0.1 * noise
    if name.endswith("A_log"):  # with dt_bias: states that forget within 1 to 50 tokens or so
        return torch.empty(shape).uniform_(0.02, 2.0, generator=generator).log()
    if name.endswith("dt_bias"):
        return 0.5 * noise
    if name.endswith(".bias"):
        return 0.1 * noise
    return noise * _gain(name) / math.sqrt(shape[-1])


def _gain(name: str) -> float:
    """What a projection does to the size of its input."""
    gains = {
        r"\.(o_proj|out_proj)\.weight": 0.2,
        r"\.down_proj(\.weight)?": 0.5,
        r"\.mlp\.gate\.weight": 3.0,  # far apart: rounding must not swap experts
        r"lm_head\.weight": 2.0,
    }
    return next((gain for pattern, gain in gains.items() if re.search(pattern + "$", name)), 1.0)


def _add_mtp_tensors(folder: Path, count: int) -> None:
    path = min(folder.glob("*.safetensors"))
    names = [f"mtp.layers.{i}.weight" for i in range(count)]
    save_file(load_file(path) | {name: torch.ones(4, 4) for name in names}, path, {"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        document = json.loads(index.read_text())
        document["weight_map"] |= dict.fromkeys(names, path.name)
        index.write_text(json.dumps(document))
