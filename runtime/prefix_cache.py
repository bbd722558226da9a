"""State of prompts that were read, for prompts that begin alike."""

from __future__ import annotations

from dataclasses import dataclass

from deltaport.runtime import _native
from deltaport.runtime.arguments import integer

__all__ = ["PrefixCache", "PrefixUsage"]


@dataclass(frozen=True)
class PrefixUsage:
    """What a ``PrefixCache`` holds, and of what use it was."""

    nbytes: int
    prompts: int
    hits: int
    """Prompts that began where an earlier one was set aside."""
    misses: int


class PrefixCache:
    """Keeps prompts with the state they made, for any number of sessions, from any threads.

    A session that is opened with one, ``engine.session(prefixes=cache)``, sets every prompt aside
    that it has read to its end, and starts a prompt of an empty row from the longest one that it
    begins with, or is. Token by token equal is what counts; sessions of several engines may share
    a cache without meeting. For a system prompt that many requests have in common, prefill it once
    by itself.
    """

    def __init__(self, budget: int, *, min_tokens: int = 64) -> None:
        """``budget``: bytes held at most; what was not of use for longest is dropped for others.

        ``min_tokens``: a prompt is kept if so many of its tokens had to be run at least.
        """
        self.budget = integer("budget", budget, least=0)
        self.min_tokens = integer("min_tokens", min_tokens)
        self.native = _native.PrefixCache(self.budget, self.min_tokens)

    def usage(self) -> PrefixUsage:
        """What is held now, and how often it was asked for."""
        return PrefixUsage(*self.native.usage())

    def clear(self) -> None:
        """Drop everything."""
        self.native.clear()
