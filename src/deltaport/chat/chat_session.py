"""A conversation with an engine that keeps its state between turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deltaport.errors import CapacityError, EngineError

from .answer import Answer
from .conversation import Conversation
from .reasoning import is_reasoning_open
from .template import ChatTemplate, Message

if TYPE_CHECKING:
    from deltaport.runtime import Engine, SamplingParams, Snapshot
    from deltaport.text import TextTokenizer

__all__ = ["ChatSession"]


class ChatSession:
    """Asks an engine and remembers what was said.

    What the engine has read is not read again. A turn's text is all of the conversation, rendered
    anew; where the tokens in the session begin it, the rest is appended. Often they do not:
    templates drop the reasoning of earlier turns, and a model may spell its answer in other tokens
    than the tokenizer does. So the state at the end of the messages, before the answer, is set
    aside in every turn, and the next one goes on from there. What is answered is, up to rounding,
    what it would be after reading everything afresh.

    ``tools`` and ``variables`` go to the template, as in :meth:`ChatTemplate.render`.
    """

    def __init__(
        self,
        engine: Engine,
        template: ChatTemplate,
        *,
        conversation: Conversation | None = None,
        context: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> None:
        if engine.tokenizer is None:
            raise EngineError(
                f"{engine.folder}: has no tokenizer.json, which chat needs; copy the checkpoint's "
                "file there"
            )
        self.engine = engine
        self.template = template
        self.conversation = Conversation() if conversation is None else conversation
        """Replace or change it between turns as you like."""
        self.tools = tools
        self.variables = variables
        self._tokenizer: TextTokenizer = engine.tokenizer
        self._session = engine.session(context=context)
        self._snapshot: Snapshot | None = None
        self._unfinished: Answer | None = None
        self._end_tokens = self._ends_of_turns()

    def ask(self, text: str, params: SamplingParams | None = None) -> Answer:
        """Say ``text`` and have it answered: iterate over what is returned.

        ``params``: by default greedy, as long as the context allows. Raises at once, and leaves
        the conversation as it was: ``CapacityError`` if there is no room left, ``InputError`` for
        text that is none or that the template refuses.
        """
        return self.answer([{"role": "user", "content": text}], params)

    def answer(self, messages: Sequence[Message], params: SamplingParams | None = None) -> Answer:
        """As :meth:`ask` for any messages to be added, such as what tools have returned."""
        from deltaport.runtime import SamplingParams
        from deltaport.runtime.arguments import token_ids

        if self._unfinished is not None:
            self._unfinished.close()
        turn = Conversation([*self.conversation.messages, *messages])
        prompt = self._render(turn, add_generation_prompt=True)
        ids = self._encode(prompt)
        if not ids:
            raise EngineError(f"{self.engine.folder}: the chat template makes no text of this")
        token_ids("the conversation, by the tokenizer", ids, self.engine.manifest.vocab_size)
        room = self._session.context - len(ids)
        if room < 1:
            raise CapacityError(
                f"the conversation takes {len(ids)} tokens, which leaves no room for an answer in "
                f"a context of {self._session.context}; start anew with /reset, or pass a higher "
                "--context"
            )
        params = params or SamplingParams(max_new_tokens=None)
        wanted = params.max_new_tokens
        ends = self._end_tokens if not params.ignore_eos else ()
        params = replace(
            params,
            # Not the room: memory for all of it would be reserved before the first token.
            max_new_tokens=None if wanted is None else min(wanted, room),
            stop_token_ids=(*params.stop_token_ids, *ends),
        )
        history = self._encode(self._render(turn, add_generation_prompt=False))
        kept = min(_common(history, ids), len(ids) - 1)
        opened = is_reasoning_open(prompt)
        self._unfinished = Answer(self, turn, ids, kept, params, opened=opened)
        return self._unfinished

    def _render(self, turn: Conversation, *, add_generation_prompt: bool) -> str:
        return self.template.render(
            turn.messages,
            tools=self.tools,
            add_generation_prompt=add_generation_prompt,
            **self.variables,
        )

    def _encode(self, text: str) -> list[int]:
        # The template writes every token there is to be, the first one too.
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _ends_of_turns(self) -> tuple[int, ...]:
        """The token that ends a turn, also where the checkpoint's configuration forgets it."""
        ids = self._encode(self.template.variables.get("eos_token", ""))
        known = [token for token in ids if token < self.engine.manifest.vocab_size]
        return tuple(known) if len(ids) == 1 else ()

    def _rewind(self, ids: list[int]) -> int:
        """Make the session the longest known beginning of ``ids``; returns its tokens."""
        session, snapshot = self._session, self._snapshot
        known = len(session.tokens[0]) if _begins(session.tokens[0], ids) else 0
        if snapshot is not None and not _begins(snapshot.tokens, ids):
            snapshot = self._snapshot = None  # of another conversation: no use, but much memory
        if snapshot is not None and known < len(snapshot.tokens):
            session.restore(0, snapshot)
            return len(snapshot.tokens)
        if not known:
            session.clear(0)
        return known

    def _set_aside(self) -> None:
        self._snapshot = None  # the old one first: two may not fit
        self._snapshot = self._session.snapshot(0)


def _begins(tokens: Sequence[int], ids: list[int]) -> bool:
    return list(tokens) == ids[: len(tokens)]


def _common(one: list[int], other: list[int]) -> int:
    """Length of the beginning that both have."""
    pairs = zip(one, other, strict=False)
    shorter = min(len(one), len(other))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
