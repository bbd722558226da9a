"""How the next token is chosen, and when a sequence ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime import _native
from deltaport.runtime.arguments import flag, integer, number, token_ids

if TYPE_CHECKING:
    from deltaport.runtime.engine import Engine

__all__ = ["AllowedTokens", "SamplingParams"]

AllowedTokens = Callable[[Sequence[int]], "NDArray[np.bool_] | Collection[int] | None"]
"""Given the new tokens so far: a mask [V], or the ids that may come next; ``None`` allows all."""

LARGEST = 1e6
"""Bound of penalties, biases and temperatures: beyond any use, and far from overflowing."""
_OF_PYTHON = {"allowed_tokens", "stop", "detokenize"}
"""Fields that the native runtime does not have."""
_ANY_ID = 1 << 31
"""Above every token id; whether an engine has one is seen when it is to generate."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """What a sequence is generated with. Everything is off by default: greedy, 128 tokens.

    Checked when made: raises ``InputError`` that names the field. What each filter does exactly
    is told in ``logits_processors.h``, where they are applied in the order of the fields here.
    """

    max_new_tokens: int | None = 128
    """``None``: as many as the context holds."""
    min_new_tokens: int = 0
    """Until then no end token and none of ``stop_token_ids`` is chosen; stop strings still end."""
    temperature: float = 0.0
    """0: greedy, the most likely token, of equals the lowest id; the filters do nothing then."""
    top_k: int = 0
    """0: off."""
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    """On every token of the row so far, prompt and generated, as in transformers."""
    presence_penalty: float = 0.0
    """On generated tokens only, as in the OpenAI API; so is ``frequency_penalty``."""
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    """Added to logits; ``-inf`` bans a token."""
    suppress_tokens: tuple[int, ...] = ()
    allowed_tokens: AllowedTokens | None = None
    """For grammars. Asked once a token; where it raises, nothing has been generated."""
    seed: int | None = None
    """0 to 2**64 - 1; ``None``: a fresh one for each sequence."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these; the tokens that spell it are kept."""
    stop_token_ids: tuple[int, ...] = ()
    """Beside the engine's own end tokens."""
    ignore_eos: bool = False
    """Go on past the engine's own end tokens."""
    logprobs: int | None = None
    """``None``: none; n: the log-probability of the token chosen, and the n most likely ones."""
    detokenize: bool = True
    """Give text, where the engine has a tokenizer."""

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.stop and not self.detokenize:
            raise InputError("stop holds strings, which are found in text: leave detokenize on")

    @classmethod
    def from_generation_config(cls, engine: Engine, **changes: Any) -> SamplingParams:
        """What the checkpoint recommends in ``generation_config.json``, with ``changes``.

        Read as transformers' ``generate`` does: greedy unless ``do_sample`` is true. A folder
        without the file recommends nothing. Raises ``InputError`` for fields that would change
        the output and that deltaport does not do, ``EngineError`` for a file that is damaged.
        """
        from deltaport.runtime.generation_config import recommended

        return replace(cls(**recommended(engine.folder)), **changes)

    def native(self) -> _native.SamplingParams:
        """The same for the native runtime, which leaves text and callbacks to Python."""
        names = {field.name for field in fields(self)} - _OF_PYTHON
        return _native.SamplingParams(**{name: getattr(self, name) for name in names})

    def check_ids(self, vocab_size: int) -> None:
        """Refuse token ids that a model of ``vocab_size`` does not have."""
        for name in ("logit_bias", "suppress_tokens", "stop_token_ids"):
            token_ids(name, getattr(self, name), vocab_size)
        if self.logprobs is not None:
            integer("logprobs", self.logprobs, least=0, most=vocab_size)


def _integer(least: int, most: int | None = None) -> Callable[[str, object], int]:
    return lambda name, value: integer(name, value, least=least, most=most)


def _number(least: float, most: float, *, above: bool = False) -> Callable[[str, object], float]:
    return lambda name, value: number(name, value, least=least, most=most, above=above)


def _optional(check: Callable[[str, object], int]) -> Callable[[str, object], int | None]:
    return lambda name, value: None if value is None else check(name, value)


def _ids(name: str, value: object) -> tuple[int, ...]:
    return tuple(token_ids(name, value, _ANY_ID))  # type: ignore[arg-type]  # checked there


def _biases(name: str, value: object) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is {value!r:.40}, expected a mapping of token ids to numbers")
    ids = token_ids(name, value, _ANY_ID)
    return {
        token: -math.inf if bias == -math.inf else _symmetric(f"{name}[{token}]", bias)
        for token, bias in zip(ids, value.values(), strict=True)
    }


def _strings(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InputError(f"{name} is {value!r:.40}, expected a tuple of strings")
    strings = tuple(value)
    for string in strings:
        if not isinstance(string, str) or not string:
            raise InputError(f"{name} holds {string!r:.40}, expected strings that are not empty")
    return strings


def _callback(name: str, value: object) -> object:
    if value is not None and not callable(value):
        raise InputError(f"{name} is {value!r:.40}, expected a function of the new tokens")
    return value


_symmetric = _number(-LARGEST, LARGEST)
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "max_new_tokens": _optional(_integer(0)),
    "min_new_tokens": _integer(0),
    "temperature": _number(0, LARGEST),
    "top_k": _integer(0),
    "top_p": _number(0, 1),
    "min_p": _number(0, 1),
    "typical_p": _number(0, 1, above=True),
    "repetition_penalty": _number(0, LARGEST, above=True),
    "presence_penalty": _symmetric,
    "frequency_penalty": _symmetric,
    "logit_bias": _biases,
    "suppress_tokens": _ids,
    "allowed_tokens": _callback,
    "seed": _optional(_integer(0, 2**64 - 1)),
    "stop": _strings,
    "stop_token_ids": _ids,
    "ignore_eos": flag,
    "logprobs": _optional(_integer(0)),
    "detokenize": flag,
}
