# ruff: noqa: RUF001 - letters that look like others are part of the corpus
"""A small tokenizer of the make the Qwen3.5 family has, with its files, for tests of text.

The split pattern, the normalizer, and which control tokens count as special are the family's; the
merges are trained on a few sentences.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

__all__ = ["SPECIAL", "TEMPLATES", "UNSPECIAL", "save_qwen_like_tokenizer"]

TEMPLATES = Path(__file__).with_name("chat_templates")

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
UNSPECIAL = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
"""Control tokens that decoding shows."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CORPUS = (
    "The quick brown fox jumps over the lazy dog, and the dog sleeps through the whole show.",
    "A gated delta rule keeps what it needs and forgets the rest; the rest isn't missed.",
    "system user assistant tool thinking answer question function parameter name value",
    "def main():\n    return [x ** 2 for x in range(10) if x % 2 == 0]\n",
    "Grüße aus Zürich! ¿Qué tal, señor? Où êtes-vous, cœur brisé?",
    "Привет, мир. Как у вас дела сегодня? Καλημέρα κόσμε, τι κάνεις;",
    "مرحبا بالعالم، كيف حالك اليوم؟ שלום עולם, מה שלומך היום?",
    "नमस्ते दुनिया, आप कैसे हैं? สวัสดีชาวโลก สบายดีไหม",
    "你好世界,今天天气怎么样?こんにちは世界、お元気ですか。안녕하세요 세계",
    "🦊🌍👩‍👩‍👧‍👦🇨🇭👍🏽 1234567890 3.14159 0x7f",
)


def save_qwen_like_tokenizer(
    folder: Path, *, template: str | None = None, vocab_size: int = 700
) -> Path:
    """Write ``tokenizer.json`` and its configuration, and a template of ``chat_templates``.

    ``vocab_size`` includes the control tokens, which come last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL) - len(UNSPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in UNSPECIAL])
    assert tokenizer.get_vocab_size() == vocab_size
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(_config(tokenizer)))
    if template is not None:
        source = (TEMPLATES / f"{template}.jinja").read_bytes()
        (folder / "chat_template.jinja").write_bytes(source)
    return folder


def _config(tokenizer: Tokenizer) -> dict[str, object]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): flags
            | {"content": token, "special": token in SPECIAL}
            for token in SPECIAL + UNSPECIAL
        },
        "additional_special_tokens": list(SPECIAL[1:]),
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "image_token": "<|image_pad|>",
        "model_max_length": 262144,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
