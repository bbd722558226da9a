"""Finding stop strings in text that comes in pieces."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["StopStrings"]


class StopStrings:
    """Passes text on up to the first stop string, and never a part of one.

    The first is the one whose last character comes first, so that how the text is cut into pieces
    does not matter; of several that end there, the longest. Held back is the longest end of the
    text that a stop string begins with, and no more: the next character can always complete it.
    """

    def __init__(self, stops: Collection[str]) -> None:
        self.found = False
        """Whether a stop string has come; there is no more text then."""
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> str:
        """Add text; returns what cannot be part of a stop string any more."""
        if self.found:
            return ""
        text = self._held + text
        matches = [
            (start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0
        ]
        if matches:
            self.found, self._held = True, ""
            return text[: min(matches)[1]]
        kept = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def finish(self) -> str:
        """What was held back: as nothing follows, it was not a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
