"""The chat template of a model: from messages to the text the model continues."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from deltaport.errors import EngineError, InputError
from deltaport.strict_json import one_line, quote

from .template_files import DEFAULT, TOOL_USE, TemplateFiles
from .template_process import TemplateProcess

__all__ = ["ChatTemplate", "Message"]

Message = dict[str, Any]
"""``{"role": ..., "content": ...}`` and what else templates know, such as ``tool_calls``."""

SECONDS = 10.0
"""Time a template may take: a long conversation takes milliseconds."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""What messages call their reasoning, the name that templates read first."""
_DEEPEST = 64
"""Levels of lists and objects in a message: tools' schemas have a dozen."""


class ChatTemplate:
    """Renders conversations as transformers' ``apply_chat_template(tokenize=False)`` does.

    The template, a stranger's program, runs sandboxed in a process of its own with bounded time,
    memory and output; it is started by the first call, ends with :meth:`close` or Python, and is
    started anew if a template has brought it down. Safe to share between threads.
    """

    def __init__(self, files: TemplateFiles, *, seconds: float = SECONDS) -> None:
        self.variables = dict(files.variables)
        """Special tokens by name, which every template is given."""
        self._files = files
        self._process = TemplateProcess(seconds)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, seconds: float = SECONDS) -> ChatTemplate:
        """The template in a checkpoint's or an engine's folder, whose files are untrusted.

        ``seconds``: how long it may take to render. Raises ``EngineError`` if there is none, or if
        a file cannot be used; what is wrong with the template itself shows in :meth:`check`.
        """
        return cls(TemplateFiles.read(folder), seconds=seconds)

    def check(self) -> None:
        """Compile the template, which rendering would do; raises ``EngineError`` if that fails."""
        self._process.render(self._choose(tools=False), None, source=self._files.source)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        **variables: Any,
    ) -> str:
        """The text of a conversation.

        ``tools``: JSON schemas of functions the model may call. ``add_generation_prompt`` ends the
        text where the model's answer begins. ``variables`` are given to the template, such as
        ``enable_thinking=False``. All of it is JSON: dict, list, str, int, float, bool and None.
        A message's keys that are None count as absent.

        Raises ``InputError`` for messages that are not, or that the template refuses, and
        ``EngineError`` for a template that fails, or does not end in time, memory and size.
        """
        if not messages:
            raise InputError("the conversation is empty; give it a message")
        given = {
            "messages": [_message(message, i) for i, message in enumerate(messages)],
            "tools": None if tools is None else _plain(list(tools), "tools"),
            "add_generation_prompt": add_generation_prompt,
        }
        more = {"documents": None} | self.variables | _plain(variables, "variables")
        template = self._choose(tools=tools is not None)
        return self._process.render(template, more | given, source=self._files.source)

    def close(self) -> None:
        """End the process that renders."""
        self._process.close()

    def __enter__(self) -> ChatTemplate:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _choose(self, *, tools: bool) -> str:
        templates = self._files.templates
        name = TOOL_USE if tools and TOOL_USE in templates else DEFAULT
        if name not in templates:
            names = one_line(", ".join(sorted(templates)))[:200]
            raise EngineError(
                f'{self._files.source}: holds the chat templates {names}, but none called "{name}"'
            )
        return templates[name]


def _message(message: object, index: int) -> Message:
    if not isinstance(message, Mapping):
        raise InputError(f"messages[{index}] is {quote(message)}, expected a dict")
    plain = _plain(dict(message), f"messages[{index}]")
    present = {key: value for key, value in plain.items() if value is not None}
    reasoning = next((present[name] for name in _REASONING if name in present), None)
    if reasoning is None:
        return present
    # Under every name that templates know it by, as transformers does.
    return {"thinking": reasoning, **present, "reasoning_content": reasoning}


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A copy of ``value``, having checked that it is JSON; ``where`` names it in errors."""
    if depth > _DEEPEST:
        raise InputError(f"{where[:200]}: nested more than {_DEEPEST} levels deep")
    match value:
        case None | bool() | float():
            return value
        case str():
            return str.__str__(value)  # of an enumeration, the text
        case int():
            if value.bit_length() > 1024:
                raise InputError(f"{where} is an integer with too many digits")
            return int(value)
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise InputError(f"{where} has the key {quote(key)}, expected text")
            return {str(k): _plain(v, f"{where}[{quote(k)}]", depth + 1) for k, v in value.items()}
        case list() | tuple():
            return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        case _:
            raise InputError(
                f"{where} is {quote(value)}; expected JSON: dict, list, str, int, float, bool, None"
            )
