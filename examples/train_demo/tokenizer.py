"""A byte-level BPE tokenizer of the make Qwen uses, trained on the corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

__all__ = ["END_OF_TEXT", "train_tokenizer"]

END_OF_TEXT = "<|endoftext|>"
_CONTROL_TOKENS = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"]
_THINKING_TOKENS = ["<think>", "</think>"]
"""Control tokens too, but ones that a reader is shown."""

# Words with one character before them, single digits, punctuation with the line breaks after it,
# and runs of spaces that leave the last one to the word that follows.
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocab_size: int, file: Path) -> Tokenizer:
    """Train on ``texts`` and write ``tokenizer.json``; the end of a text has the id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(_THINKING_TOKENS),
        special_tokens=_CONTROL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    shown = [AddedToken(token, special=False, normalized=False) for token in _THINKING_TOKENS]
    tokenizer.add_tokens(shown)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(f"the corpus gives {tokenizer.get_vocab_size()} tokens, not {vocab_size}")
    tokenizer.save(str(file))
    return tokenizer
