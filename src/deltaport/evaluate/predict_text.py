"""Running a long text through one engine, or through two side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deltaport.distributions import Floats, log_softmax
from deltaport.errors import EngineError, InputError
from deltaport.evaluate.evaluation import Evaluation, Score
from deltaport.evaluate.ledger import Ledger
from deltaport.runtime import Engine, Session
from deltaport.runtime.arguments import integer
from deltaport.runtime.step_limits import LIMITS
from deltaport.text import TOKENIZER_NAME

__all__ = ["EvaluateEvents", "evaluate"]

LOGITS_AT_ONCE = 1 << 25
"""Logits an engine is asked for at a time; 128 MiB, and for a moment a copy of them."""


@dataclass(frozen=True)
class EvaluateEvents:
    """Hooks for whoever shows progress: how many tokens will be read, and some more of them."""

    tokens: Callable[[int], None] = lambda _: None
    done: Callable[[int], None] = lambda _: None


def evaluate(
    engine: Engine,
    text: str,
    *,
    against: Engine | None = None,
    context: int | None = None,
    events: EvaluateEvents | None = None,
) -> Evaluation:
    """Predict every token of ``text`` from those before it, and compare with ``against``.

    The text is read in contexts of at most ``context`` tokens, by default as many as the engines
    allow, and each of those in steps that carry the state. A context begins with the token that the
    one before it predicted last, so that every token but the first is predicted once. Two engines
    read side by side, so that nothing the size of the vocabulary is ever stored.

    Raises ``InputError`` for a text of less than two tokens and for engines whose tokenizers
    differ, ``EngineError`` for an engine without a tokenizer or with logits that are not finite.
    """
    events = events or EvaluateEvents()
    engines = [engine] if against is None else [engine, against]
    tokens = _common_tokens(engines, text)
    most = min(one.manifest.longest_context for one in engines)
    context = most if context is None else integer("context", context, most=most)
    predicted = len(tokens) - 1

    events.tokens(predicted)
    sessions = [one.session(context=context) for one in engines]
    ledger = Ledger(len(engines))
    for step in _steps(predicted, context, engine.manifest.vocab_size):
        if step.start % context == 0:
            for session in sessions:
                session.clear(0)
        given, targets = tokens[step.start : step.stop], tokens[step.start + 1 : step.stop + 1]
        beliefs = (_beliefs(session, given, step.start) for session in sessions)
        for target, *of_engines in zip(targets, *beliefs, strict=True):
            ledger.enter(target, of_engines)
        events.done(len(step))

    size = len(text.encode())
    scores = [
        Score.of(one.folder, nats, size=size, vocab_size=one.manifest.vocab_size)
        for one, nats in zip(engines, ledger.nats, strict=True)
    ]
    return Evaluation(
        size=size,
        tokens=len(tokens),
        context=context,
        contexts=-(-predicted // context),
        score=scores[0],
        reference=None if against is None else scores[1],
        comparison=None if against is None else ledger.comparison(),
    )


def _common_tokens(engines: Sequence[Engine], text: str) -> list[int]:
    """The tokens of the text, having checked that they are the same to all ``engines``."""
    first = engines[0]
    tokens = _tokens(first, text)
    for other in engines[1:]:
        sizes = [one.manifest.vocab_size for one in (first, other)]
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{first.folder} chooses from {sizes[0]} tokens, {other.folder} from {sizes[1]}; "
                "compare engines of one model"
            )
        if _tokens(other, text) != tokens:
            raise InputError(
                f"{first.folder} and {other.folder} cut the text into other tokens; compare "
                "engines of one model"
            )
    if len(tokens) < 2:
        raise InputError(
            f"too little text: {len(tokens)} of the at least 2 tokens it takes to predict one; "
            "give it a longer text"
        )
    return tokens


def _tokens(engine: Engine, text: str) -> list[int]:
    if engine.tokenizer is None:
        raise EngineError(
            f"{engine.folder}: has no {TOKENIZER_NAME}, so it cannot read text; copy the "
            "checkpoint's file there"
        )
    tokens = engine.tokenizer.encode(text, add_special_tokens=False)
    if max(tokens, default=0) >= engine.manifest.vocab_size:
        raise EngineError(
            f"{engine.folder / TOKENIZER_NAME}: gives token {max(tokens)}, expected 0 to "
            f"{engine.manifest.vocab_size - 1}; copy the checkpoint's file again"
        )
    return tokens


def _steps(predicted: int, context: int, vocab_size: int) -> Iterator[range]:
    """Places in the text that are run at a time: never more than one context, nor too many."""
    width = max(1, min(LIMITS.largest, LOGITS_AT_ONCE // vocab_size))
    for begin in range(0, predicted, context):
        end = min(begin + context, predicted)
        for start in range(begin, end, width):
            yield range(start, min(start + width, end))


def _beliefs(session: Session, tokens: Sequence[int], place: int) -> Iterator[Floats]:
    """Log-probabilities [V] of what follows each token, the first of them at ``place``.

    One by one as they are asked for: in float64 those of a whole step would be large.
    """
    [logits] = session.prefill([tokens], logits="all")
    assert logits is not None  # some tokens were given
    for i, row in enumerate(logits):
        if not np.isfinite(row).all():
            raise EngineError(
                f"{session.engine.folder}: gives logits that are not finite after token "
                f"{place + i} of the text; find out where they come from with: deltaport verify "
                f"{session.engine.folder} --against CHECKPOINT --layers"
            )
        yield log_softmax(row)
