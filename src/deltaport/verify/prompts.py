"""What engine and oracle are given to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltaport.errors import EngineError, InputError
from deltaport.text import TextTokenizer

__all__ = ["Prompt", "built_in_prompts", "given_prompt"]

_PROSE = (
    "The harbour woke before the town did. Ropes creaked, a gull complained about the weather, and "
    "somebody on the far quay was already arguing with an engine that would not start. By the time "
    "the baker had lit his ovens, three boats were out past the breakwater, and the fourth was "
    "still being talked to, patiently at first and then less so."
)
_EUROPEAN = (
    "Wer früh aufsteht, sieht den Nebel noch über den Wiesen liegen. « Où allons-nous ? » demanda "
    "la fillette, déjà fatiguée. Żółte liście spadały na ścieżkę, a pies biegł przodem. El niño "
    "preguntó cuántas estrellas había, y nadie supo qué contestarle. Кот спал на подоконнике."
)
_ASIAN = (
    "清晨的市场很热闹。卖菜的老人正在数零钱。雨が止んだので、二人は川沿いの道を歩いて帰った。"
    "기차는 열 시에 떠나지만 표는 아직 없다. كان الطريق طويلا لكن الحديث قصّره. "
    "बच्चे नदी के किनारे पत्थर गिन रहे थे। 🌧️🚲🍜"
)
_CODE = """\
def merge(left: list[int], right: list[int]) -> list[int]:
    out = []
    while left and right:
        out.append((left if left[0] <= right[0] else right).pop(0))
    return out + left + right

SELECT city, COUNT(*) AS n FROM visits WHERE year >= 2019 GROUP BY city ORDER BY n DESC;
{"name": "kettle", "litres": 1.7, "tags": ["steel", null, true]}
for (size_t i = 0; i < n; ++i) { sum += a[i] * b[n - 1 - i]; }
"""
_MATHS = (
    "17 * 23 = 391, 2**31 - 1 = 2147483647, 1/7 = 0.142857142857..., 6.02214076e23. Let f(x) = "
    "x^3 - 2x + 1; then f'(x) = 3x^2 - 2, and f(1) = 0. \\int_0^1 x e^{-x^2} dx = (1 - 1/e)/2. "
    "∀ε>0 ∃δ>0: |x-a|<δ ⇒ |f(x)-f(a)|<ε. Call 555-0142 on 2031-11-05 at 07:45, room 3.14."
)

_BUILT_IN = (
    ("one token", _PROSE, 1),
    ("English prose", _PROSE, 63),
    ("European languages", _EUROPEAN, 64),
    ("Asian languages and Arabic", _ASIAN, 65),
    ("code", _CODE, 150),
    ("numbers and maths", _MATHS, 129),
    ("everything, long", _MATHS + _ASIAN + _CODE + _EUROPEAN + _PROSE, 200),
)
"""Name, text, and how many of its tokens. An engine's ops work in chunks of 64 tokens, so lengths
lie on both sides of that."""
_REPEATED = "one token repeated", 100
"""Equal keys, one after another, are what a delta rule finds hardest to keep apart."""
_SEED = 20260


@dataclass(frozen=True)
class Prompt:
    """Token ids, and what to call them in a report."""

    name: str
    tokens: list[int]


def built_in_prompts(
    tokenizer: TextTokenizer | None, *, vocab_size: int, longest: int
) -> list[Prompt]:
    """Prompts of 1 to 200 tokens, none longer than ``longest``.

    Without a tokenizer they are random token ids, the same every time. Raises ``EngineError`` for
    a tokenizer that gives ids the model does not have.
    """
    rng = np.random.default_rng(_SEED)
    prompts = []
    for name, text, length in _BUILT_IN:
        if tokenizer is None:
            tokens = rng.integers(0, vocab_size, length).tolist()
            name = f"{length} random {'token' if length == 1 else 'tokens'}"
        else:
            # A large vocabulary makes fewer tokens of a text than asked for: it starts again.
            tokens = np.resize(_encode(tokenizer, text, vocab_size), length).tolist()
        prompts.append(Prompt(name, tokens[:longest]))
    name, length = _REPEATED
    prompts.append(Prompt(name, [prompts[1].tokens[-1]] * min(length, longest)))
    return prompts


def given_prompt(name: str, tokens: Sequence[int], *, longest: int) -> Prompt:
    """The caller's own tokens; ``InputError`` where they are none or too many."""
    if not tokens:
        raise InputError("the prompt gives no tokens; give the model something to read")
    if len(tokens) > longest:
        raise InputError(
            f"the prompt has {len(tokens)} tokens, expected at most {longest}, as the model's "
            "context must hold the continuation too; shorten it"
        )
    return Prompt(name, list(tokens))


def _encode(tokenizer: TextTokenizer, text: str, vocab_size: int) -> list[int]:
    tokens = tokenizer.encode(text)
    if not tokens or max(tokens) >= vocab_size:
        found = f"token id {max(tokens)}" if tokens else "no tokens"
        raise EngineError(
            f"tokenizer.json gives {found} for a text, expected ids below {vocab_size}; copy the "
            "checkpoint's file again"
        )
    return tokens
