"""Text in and out: the tokenizer of an engine folder, and decoding that streams."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer

from deltaport.errors import DeltaportError, EngineError, InputError
from deltaport.package.bounded_file import read_bounded
from deltaport.tokenizer_rules import problem_with_tokenizer

__all__ = ["TOKENIZER_NAME", "TextStream", "TextTokenizer"]

TOKENIZER_NAME = "tokenizer.json"
SIZE_LIMIT = 256 << 20
"""Bytes a tokenizer may have: far above any real one, far below what would hurt to parse."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_INCOMPLETE = 3
"""A character is four bytes at most, and a token one at least, so this many may be unfinished."""
_CONTEXT = 16
"""Tokens decoded again with every new one: enough to finish any character, and then some."""


class TextTokenizer:
    """The tokenizer a checkpoint came with. Load one with :meth:`load`."""

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        self._tokenizer = tokenizer
        self._source = source

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TextTokenizer:
        """Load ``tokenizer.json`` of an engine folder. The file is untrusted.

        Raises ``EngineError`` if there is none, if ``tokenizer_rules`` refuse it, or if it cannot
        be used.
        """
        path = Path(folder) / TOKENIZER_NAME
        data = _read(path)
        if (problem := problem_with_tokenizer(data)) is not None:
            raise EngineError(f"{path}: not a tokenizer deltaport takes: {problem}")
        with _failures(EngineError(f"{path}: not a tokenizer; copy the checkpoint's file again")):
            tokenizer = Tokenizer.from_buffer(data)
            # Settings of whoever saved the file, for training: they would drop part of a prompt.
            tokenizer.no_truncation()
            tokenizer.no_padding()
        return cls(tokenizer, str(path))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of ``text``; special tokens in it, such as ``<|im_start|>``, are recognised.

        ``add_special_tokens``: let the tokenizer put tokens around it, if it is one that does. For
        what a chat template has made, which has them already, that is not wanted.

        Raises ``InputError`` for text with bytes that are not UTF-8.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the text is not UTF-8 at character {error.start}; convert it first"
            ) from None
        with _failures(EngineError(f"{self._source}: the tokenizer fails on this text")):
            return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids. Special tokens, and ids the tokenizer does not know, give none."""
        with _failures(EngineError(f"{self._source}: the tokenizer fails on these token ids")):
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def stream(self) -> TextStream:
        """A decoder for tokens that arrive one at a time."""
        return TextStream(self)


class TextStream:
    """Decode token by token; the pieces joined are the text of all tokens together.

    A character may span tokens: until its last byte is there, it decodes to replacement
    characters, which are held back. Text is decoded from a few tokens back, because what a token
    gives may depend on those before it; so the cost of a token does not grow with the text.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._recent: list[int] = []
        self._given = 0  # characters of the recent tokens' text that were returned already

    def push(self, token: int) -> str:
        """Add a token; returns the text that is certain now and was not before."""
        self._forget()
        self._recent.append(token)
        text = self._tokenizer.decode(self._recent)
        return self._give(text[: len(_settled(text))])

    def finish(self) -> str:
        """What was held back and will never be completed."""
        return self._give(self._tokenizer.decode(self._recent))

    def _give(self, text: str) -> str:
        fresh = text[self._given :]
        self._given += len(fresh)
        return fresh

    def _forget(self) -> None:
        if len(self._recent) < 2 * _CONTEXT:
            return
        held = len(self._tokenizer.decode(self._recent)) - self._given
        recent = self._recent[-_CONTEXT:]
        length = len(self._tokenizer.decode(recent))
        if length >= held:  # unless those were all special tokens, which give no text
            self._recent, self._given = recent, length - held


def _settled(text: str) -> str:
    """``text`` without the replacement characters at its end that more bytes may turn into one."""
    for _ in range(_INCOMPLETE):
        text = text.removesuffix(_REPLACEMENT)
    return text


def _read(path: Path) -> bytes:
    data = read_bounded(path, SIZE_LIMIT, too_large=", not a tokenizer")
    if data is None:
        raise EngineError(
            f"{path}: missing, so this engine takes and gives token ids only; copy the "
            "checkpoint's file there, or pass --ids"
        )
    return data


@contextmanager
def _failures(meaning: DeltaportError) -> Iterator[None]:
    """Raise ``meaning`` for whatever the tokenizers library raises.

    It raises plain ``Exception``, and where its Rust code panics, a ``BaseException``.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise meaning from error
