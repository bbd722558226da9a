"""The messages of a conversation, and the files they are kept in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deltaport.atomic_file import replacing
from deltaport.errors import InputError, OutputError
from deltaport.strict_json import JsonProblem, parse_object, quote

from .template import Message

__all__ = ["Conversation"]

_FORMAT = "deltaport_conversation"
_VERSION = 1
_SIZE_LIMIT = 16 << 20
"""Bytes a file may have: what a chat template is given at most."""

_ROLES = ("system", "user", "assistant", "tool")
_TEXTS = ("reasoning_content", "name", "tool_call_id")
_KEYS = {"role", "content", "tool_calls", *_TEXTS}


class Conversation:
    """Messages in the form that chat templates take, each checked as it is added."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages: list[Message] = []
        for message in messages:
            self.add(message)

    def add(self, message: Message) -> None:
        """Append a message. Raises ``InputError`` for one that no template could take.

        It has a ``role`` (system, user, assistant or tool) and ``content``: text, or a list of
        parts. An assistant's may have ``reasoning_content`` and ``tool_calls``, a tool's
        ``tool_call_id`` and ``name``.
        """
        _check(message, f"messages[{len(self.messages)}]")
        self.messages.append(dict(message))

    def add_user(self, text: str) -> None:
        """Append what the user says."""
        self.add({"role": "user", "content": text})

    def add_answer(self, answer: str, reasoning: str = "") -> None:
        """Append what the model says; templates show its reasoning where the model expects it."""
        message: Message = {"role": "assistant", "content": answer}
        self.add(message | ({"reasoning_content": reasoning} if reasoning else {}))

    @property
    def system(self) -> str:
        """What the system message says; empty without one. Setting it to "" removes it."""
        return str(self.messages[0]["content"]) if self._begins_with_system() else ""

    @system.setter
    def system(self, text: str) -> None:
        message = {"role": "system", "content": text}
        _check(message, "the system message")
        rest = self.messages[self._begins_with_system() :]
        self.messages = [message, *rest] if text else rest

    def clear(self) -> None:
        """Forget everything but the system message."""
        self.messages = self.messages[: self._begins_with_system()]

    def _begins_with_system(self) -> bool:
        return bool(self.messages) and self.messages[0]["role"] == "system"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the messages to a JSON file, at once or not at all.

        Raises ``OutputError`` if it cannot be written, or if the path is something else's.
        """
        target = Path(path)
        if os.path.lexists(target) and not _is_conversation(target):
            raise OutputError(
                f"{target}: exists and is not a saved conversation; choose another name"
            )
        document = {_FORMAT: _VERSION, "messages": self.messages}
        data = json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"
        try:
            with replacing(target, private=True) as file:
                file.write(data)
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            raise OutputError(
                f"{quote(str(target))}: cannot be written: {_reason(error)}"
            ) from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Conversation:
        """Read what :meth:`save` wrote. The file is untrusted: raises ``InputError``."""
        source = Path(path)
        try:
            if not source.exists():
                raise InputError(f"{source}: no such file; /save or Conversation.save makes one")
            if not source.is_file():  # reading a pipe or a device may never end
                raise InputError(f"{source}: not a regular file")
            with source.open("rb") as file:
                data = file.read(_SIZE_LIMIT + 1)
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            raise InputError(f"{quote(str(source))}: cannot be read: {_reason(error)}") from None
        if len(data) > _SIZE_LIMIT:
            raise InputError(f"{source}: larger than {_SIZE_LIMIT >> 20} MiB, not a conversation")
        try:
            return cls(_messages(data))
        except (JsonProblem, InputError) as problem:
            raise InputError(f"{source}: {problem}") from None


def _messages(data: bytes) -> list[Any]:
    document = parse_object(data)
    if _FORMAT not in document:
        raise JsonProblem(f'is not a saved conversation: it has no "{_FORMAT}"')
    if document[_FORMAT] != _VERSION or document.keys() != {_FORMAT, "messages"}:
        raise JsonProblem(
            f"is a conversation of another version ({quote(document[_FORMAT])}, with "
            f"{quote(sorted(document))}); this deltaport reads version {_VERSION}"
        )
    messages = document["messages"]
    if not isinstance(messages, list):
        raise JsonProblem(f"has as messages {quote(messages)}, expected a list")
    return messages


def _check(message: object, where: str) -> None:
    if not isinstance(message, dict):
        raise InputError(f"{where} is {quote(message)}, expected an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise InputError(f"{where}: role is {quote(role)}, expected one of {', '.join(_ROLES)}")
    if unknown := [key for key in message if key not in _KEYS]:
        raise InputError(f"{where}: has the key {quote(unknown[0])}, which messages do not have")
    content = message.get("content")
    if not isinstance(content, str) and not _are_objects(content):
        raise InputError(f"{where}: content is {quote(content)}, expected text or a list of parts")
    for name in _TEXTS:
        if name in message and not isinstance(message[name], str):
            raise InputError(f"{where}: {name} is {quote(message[name])}, expected text")
    if "tool_calls" in message and not _are_objects(message["tool_calls"]):
        raise InputError(f"{where}: tool_calls is {quote(message['tool_calls'])}, expected a list")
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: its text is not UTF-8; convert it first") from None
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"{where}: holds something that is not JSON") from None


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)


def _is_conversation(path: Path) -> bool:
    try:
        Conversation.load(path)
    except InputError:
        return False
    return True


def _reason(error: OSError | ValueError) -> str:
    """Without the name, which is also that of the file beside it that is written first."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
