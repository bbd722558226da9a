"""A byte-level tokenizer for the toy engine's two dozen tokens."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.runtime.toy_engine import EOS, VOCAB

__all__ = ["PIECES", "write_toy_tokenizer"]

PIECES: tuple[bytes, ...] = (
    *(b"a", b"b", b"c", b"ab", b"ba", b"<end>", b" ", b"\n"),
    *(bytes([byte]) for byte in "€é🦊".encode()),
    *(b"aa", b"bc", b"x", b"y", b"z", b"."),
)
"""What each token spells: letters, and the single bytes of characters of two to four bytes."""


def write_toy_tokenizer(folder: Path, *, extra: tuple[bytes, ...] = ()) -> None:
    """Write ``tokenizer.json``. ``extra`` tokens come after those the engine knows."""
    byte_names = _byte_names()
    pieces = (*PIECES, b"poison", *extra)
    assert len(PIECES) == VOCAB - 1
    vocab = {"".join(byte_names[byte] for byte in piece): i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PIECES[EOS].decode(), *(piece.decode() for piece in extra)])
    tokenizer.save(str(folder / "tokenizer.json"))


def _byte_names() -> dict[int, str]:
    """How byte-level vocabularies spell bytes: by printable characters, as GPT-2 began."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + i) for i, byte in enumerate(others)
    }
