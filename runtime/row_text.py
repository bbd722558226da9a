"""The text of a row while it is generated."""

from __future__ import annotations

from deltaport.errors import InputError
from deltaport.runtime.engine import Engine
from deltaport.runtime.sampling_params import SamplingParams
from deltaport.runtime.stop_strings import StopStrings

__all__ = ["RowText"]


class RowText:
    """Follows what a row's new tokens decode to, up to a stop string.

    Raises ``InputError`` for stop strings where the engine has no tokenizer.
    """

    def __init__(self, engine: Engine, params: SamplingParams) -> None:
        tokenizer = engine.tokenizer if params.detokenize else None
        if params.stop and tokenizer is None:
            raise InputError(
                f"{engine.folder}: has no tokenizer.json, which stop strings need; use "
                "stop_token_ids instead"
            )
        self._text = tokenizer.stream() if tokenizer else None
        self._stops = StopStrings(params.stop)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._stops.found

    def push(self, token: int, *, last: bool) -> str | None:
        """Text that is certain now: all of it with the ``last`` token; None if none is decoded."""
        if self._text is None:
            return None
        text = self._stops.push(self._text.push(token))
        if last:
            text += self._stops.push(self._text.finish())
            text += self._stops.finish()
        return text
