"""What generation gives: events as they come, and whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Completion", "FinishReason", "GeneratedToken"]

FinishReason = Literal["length", "end_token", "stop_string"]


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """A new token of a row, which is in the session's tokens by now."""

    row: int
    token: int
    text: str | None
    """Text that became certain with this token: "" while it is held back, because a character is
    incomplete or a stop string may begin there. None where nothing is decoded."""
    logprob: float | None
    """Natural logarithm of the token's probability by the model, if asked for."""
    top_logprobs: tuple[tuple[int, float], ...]
    """The most likely tokens and their log-probabilities, if asked for."""
    finish_reason: FinishReason | None
    """On the row's last token why it is the last: ``length`` is ``max_new_tokens`` or the end of
    the context, ``end_token`` one of the engine's or of ``stop_token_ids``, this token itself."""


@dataclass(frozen=True)
class Completion:
    """All that a row has generated.

    ``text`` is what the tokens decode to, special tokens left out, up to a stop string.
    ``finish_reason`` is None for a row that was left alone or has nothing to continue.
    """

    tokens: list[int] = field(default_factory=list)
    text: str | None = None
    finish_reason: FinishReason | None = None
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    @classmethod
    def of(cls, events: Sequence[GeneratedToken], *, decoded: bool) -> Completion:
        """What the events of a row come to; none at all is where there was no room for a token."""
        return cls(
            tokens=[event.token for event in events],
            text="".join(event.text or "" for event in events) if decoded else None,
            finish_reason=events[-1].finish_reason if events else "length",
            logprobs=[event.logprob for event in events if event.logprob is not None],
            top_logprobs=[event.top_logprobs for event in events if event.logprob is not None],
        )
