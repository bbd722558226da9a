"""Greedy generation as most tests want it: tokens in, tokens out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from deltaport.runtime import SamplingParams, Session

__all__ = ["greedy"]


def greedy(
    session: Session,
    prompts: Any = None,
    *,
    new: int = 128,
    stop: Collection[int] | None = None,
    chunk_size: int | None = None,
) -> list[list[int]]:
    """The new tokens per row, at most ``new``; ``stop`` takes the place of the end tokens."""
    params = SamplingParams(
        max_new_tokens=new,
        ignore_eos=stop is not None,
        stop_token_ids=() if stop is None else tuple(stop),
        detokenize=False,
    )
    return [done.tokens for done in session.generate(prompts, params, chunk_size=chunk_size)]
