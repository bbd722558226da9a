"""An answer while it comes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .conversation import Conversation
from .reasoning import Kind, ReasoningSplitter, split_reasoning

if TYPE_CHECKING:
    from deltaport.runtime import SamplingParams

    from .chat_session import ChatSession

__all__ = ["Answer", "AnswerPart"]

CHUNK = 512
"""Tokens of a prompt that are read before anybody may say stop."""


@dataclass(frozen=True)
class AnswerPart:
    """Text of an answer as it comes."""

    kind: Kind
    text: str


class Answer:
    """An answer as it comes: iterate over its parts, once.

    With its end it becomes part of the conversation; so does as much as has come of one that is
    stopped, closed or interrupted. If nothing has come, nothing was asked.
    """

    def __init__(
        self,
        chat: ChatSession,
        turn: Conversation,
        ids: list[int],
        kept: int,
        params: SamplingParams,
        *,
        opened: bool,
    ) -> None:
        self.prompt_tokens = len(ids)
        """Tokens of the conversation before the answer."""
        self.read_tokens = 0
        """How many of them had to be run."""
        self.tokens: list[int] = []
        """Those of the answer so far."""
        self.finish_reason: str | None = None
        """Why it ended, as ``GeneratedToken`` has it; None while it comes, or if it was stopped."""
        self.reading_seconds = 0.0
        """Time to the first token."""
        self.writing_seconds = 0.0
        """Time from the first token to the last."""
        self._chat = chat
        self._turn = turn
        self._ids = ids
        self._kept = kept
        self._params = params
        self._opened = opened
        self._text = ""
        self._stopped = False
        self._parts = self._generate()

    @property
    def reasons_only(self) -> bool:
        """Whether what has come is reasoning, and no answer yet."""
        reasoning, answer = split_reasoning(self._text, opened=self._opened)
        return bool(reasoning) and not answer

    def __iter__(self) -> Iterator[AnswerPart]:
        return self._parts

    def stop(self) -> None:
        """Let the iteration end with the next token or step; signal handlers may call it."""
        self._stopped = True

    def close(self) -> None:
        """Leave off iterating; the session's next answer closes this one, too."""
        self._parts.close()

    def _generate(self) -> Generator[AnswerPart, None, None]:
        splitter = ReasoningSplitter(opened=self._opened)
        try:
            for text in self._run():
                self._text += text
                yield from (AnswerPart(*part) for part in splitter.push(text))
            yield from (AnswerPart(*part) for part in splitter.finish())
        finally:
            if self.tokens:
                reasoning, answer = split_reasoning(self._text, opened=self._opened)
                self._turn.add_answer(answer, reasoning)
                self._chat.conversation.messages = self._turn.messages

    def _run(self) -> Iterator[str]:
        """Run the model; yields the text that comes with each token."""
        from deltaport.runtime import Generation

        start = time.perf_counter()
        done = self._chat._rewind(self._ids)
        self.read_tokens = len(self._ids) - done
        session = self._chat._session
        if done < self._kept:
            for i in range(done, self._kept, CHUNK):
                if self._stopped:
                    return
                session.prefill([self._ids[i : min(i + CHUNK, self._kept)]])
            self._chat._set_aside()
            done = self._kept
        generation = Generation(session)
        generation.start(0, self._ids[done:], self._params)
        while generation.live and not self._stopped:
            for event in generation.step():
                now = time.perf_counter()
                if not self.tokens:
                    self.reading_seconds = now - start
                self.writing_seconds = now - start - self.reading_seconds
                self.tokens.append(event.token)
                self.finish_reason = event.finish_reason
                yield event.text or ""
