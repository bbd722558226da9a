"""What can be typed in ``deltaport chat`` beside questions: commands that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deltaport.errors import InputError
from deltaport.strict_json import quote

from .formatting import plural

if TYPE_CHECKING:
    from deltaport.chat import ChatSession

    from .chat_screen import Screen

__all__ = ["run_slash_command"]


@dataclass(frozen=True)
class _Command:
    usage: str
    meaning: str
    run: Callable[[ChatSession, str], str]
    """Given what follows the command; returns what to tell the user."""
    takes: str = ""
    """What must follow it; empty if nothing must."""


def run_slash_command(line: str, session: ChatSession, screen: Screen) -> bool:
    """Run it; False if it was to leave. Raises ``InputError`` for one that there is not."""
    name, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if name in ("/quit", "/exit"):
        return False
    command = _COMMANDS.get(name)
    if command is None:
        raise InputError(
            f"{quote(name)} is not a command; /help lists them, and a space before the slash "
            "makes it a question"
        )
    if command.takes and not rest:
        raise InputError(f"{name} needs {command.takes}: {command.usage}")
    screen.note(command.run(session, rest), wanted=name == "/help")
    return True


def _help(_: ChatSession, __: str) -> str:
    width = max(len(command.usage) for command in _COMMANDS.values())
    lines = [f"{command.usage:<{width}}  {command.meaning}" for command in _COMMANDS.values()]
    lines += [
        f"{'/quit':<{width}}  leave; so does Ctrl-D",
        'A line that ends with \\ goes on in the next; """ opens and closes several lines.',
        "Ctrl-C stops an answer: what has come of it is kept.",
    ]
    return "\n".join(lines)


def _reset(session: ChatSession, _: str) -> str:
    session.conversation.clear()
    return "started anew" + (" with the system message" if session.conversation.system else "")


def _system(session: ChatSession, text: str) -> str:
    session.conversation.system = text
    return "system message set" if text else "no system message"


def _save(session: ChatSession, name: str) -> str:
    session.conversation.save(_path(name))
    return f"{plural(len(session.conversation.messages), 'message')} saved"


def _load(session: ChatSession, name: str) -> str:
    from deltaport.chat import Conversation

    session.conversation = Conversation.load(_path(name))
    return f"{plural(len(session.conversation.messages), 'message')} loaded"


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # ~ of somebody who is not there
        raise InputError(f"{quote(name)}: {error}") from None


_COMMANDS = {
    "/help": _Command("/help", "show this", _help),
    "/reset": _Command("/reset", "forget the conversation, but not the system message", _reset),
    "/system": _Command("/system TEXT", "tell the model beforehand; without TEXT nothing", _system),
    "/save": _Command("/save FILE", "write the conversation to a file", _save, "a file"),
    "/load": _Command("/load FILE", "go on with a conversation from a file", _load, "a file"),
}
