"""One row while it is generated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime.completion import FinishReason, GeneratedToken
from deltaport.runtime.engine import Engine
from deltaport.runtime.sampler import Sampler, log_probabilities
from deltaport.runtime.sampling_params import SamplingParams
from deltaport.runtime.stop_strings import StopStrings

__all__ = ["GeneratedSequence"]


class GeneratedSequence:
    """Chooses a row's tokens, follows its text, and knows when it ends.

    ``history``: the row's tokens, the list that grows as it goes on; ``prompt``: those that the
    caller is about to append. Raises ``InputError`` for parameters that do not suit the engine.
    """

    def __init__(
        self,
        engine: Engine,
        row: int,
        history: list[int],
        prompt: list[int],
        context: int,
        params: SamplingParams,
    ) -> None:
        self.row = row
        self.count = 0
        """New tokens so far."""
        self._params = params
        self._history = history
        self._length = len(history) + len(prompt)
        vocab_size = engine.manifest.vocab_size
        params.check_ids(vocab_size)
        room = max(0, context - self._length)
        self.limit = room if params.max_new_tokens is None else params.max_new_tokens
        """Most new tokens."""
        own = () if params.ignore_eos else engine.manifest.eos_token_ids
        self._ends = {*own, *params.stop_token_ids}
        self._sampler = Sampler(params, vocab_size, [*history, *prompt], self._ends)
        tokenizer = engine.tokenizer if params.detokenize else None
        if params.stop and tokenizer is None:
            raise InputError(
                f"{engine.folder}: has no tokenizer.json, which stop strings need; use "
                "stop_token_ids instead"
            )
        self._text = tokenizer.stream() if tokenizer else None
        self._stops = StopStrings(params.stop)

    @property
    def to_come(self) -> int:
        """New tokens that the row was promised room for; none where it takes what there is."""
        return 0 if self._params.max_new_tokens is None else self.limit - self.count

    def check_untouched(self, history: list[int]) -> None:
        """Refuse to go on with a row that somebody else has changed meanwhile."""
        if history is not self._history or len(history) != self._length:
            raise InputError(
                f"row {self.row} was changed while it was generated; cancel it and start it again"
            )

    def pick(self, logits: NDArray[np.float32]) -> int:
        """The token that comes next; nothing changes yet."""
        return self._sampler.pick(logits)

    def add(self, token: int, logits: NDArray[np.float32]) -> GeneratedToken:
        """Go on with ``token``, which the caller appends to the history."""
        self._sampler.add(token)
        self.count += 1
        self._length += 1
        reason: FinishReason | None = None
        if token in self._ends:
            reason = "end_token"
        elif self.count == self.limit:
            reason = "length"
        text = self._push(token, last=reason is not None)
        wanted = self._params.logprobs
        likely = None if wanted is None else log_probabilities(logits, token, wanted)
        return GeneratedToken(
            row=self.row,
            token=token,
            text=text,
            logprob=likely[0] if likely else None,
            top_logprobs=likely[1] if likely else (),
            finish_reason="stop_string" if self._stops.found else reason,
        )

    def _push(self, token: int, *, last: bool) -> str | None:
        """Text that is certain now: all of it with the last token."""
        if self._text is None:
            return None
        text = self._stops.push(self._text.push(token))
        if last:
            text += self._stops.push(self._text.finish())
            text += self._stops.finish()
        return text
