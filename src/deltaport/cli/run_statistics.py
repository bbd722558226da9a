"""How long a generation took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaport.runtime import GeneratedToken

__all__ = ["CUT_SHORT", "RunStatistics"]

CUT_SHORT = "cut short: -n or the context allows no more"
_ENDINGS = {
    "length": CUT_SHORT,
    "end_token": "ended by an end token",
    "stop_string": "ended by a stop string",
}


class RunStatistics:
    """When tokens came: the first one ends the reading of the prompt. Time runs from now on."""

    def __init__(self, prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self._start = time.perf_counter()
        self._times: list[float] = []
        self._finish_reason: str | None = None

    def timed(self, events: Iterator[GeneratedToken]) -> Iterator[GeneratedToken]:
        """Pass events on, noting when each came and why the last one did."""
        for event in events:
            self._times.append(time.perf_counter())
            self._finish_reason = event.finish_reason
            yield event

    def timings(self) -> dict[str, float]:
        """Seconds until the first token was there, and from then to the last one."""
        return {
            "first_token_seconds": self._times[0] - self._start,
            "further_tokens_seconds": self._times[-1] - self._times[0],
        }

    def summary(self) -> str:
        """One line for people."""
        from .formatting import format_seconds, plural

        count = len(self._times)
        reading, writing = self.timings().values()
        line = f"{plural(self.prompt_tokens, 'prompt token')} in {format_seconds(reading)}"
        line += f" ({self.prompt_tokens / reading:.1f} tokens/s); {plural(count, 'new token')}"
        if count > 1:
            line += f" in {format_seconds(reading + writing)}"
            line += f" ({(count - 1) / writing:.1f} tokens/s after the first)"
        return line + (f"; {_ENDINGS[self._finish_reason]}" if self._finish_reason else "")
