"""The loop of ``deltaport chat``: what the user says, what becomes of it, what comes back."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING

from deltaport.errors import DeltaportError

from .chat_input import Input, PipedInput, TerminalInput
from .chat_screen import Screen
from .chat_slash import run_slash_command
from .console import print_error

if TYPE_CHECKING:
    from deltaport.chat import Answer, ChatSession
    from deltaport.runtime import SamplingParams

__all__ = ["talk"]

_LEAVING = "Ctrl-C again, Ctrl-D or /quit leaves"


def talk(session: ChatSession, params: SamplingParams, *, quiet: bool) -> None:
    """Converse until the user leaves or stdin ends.

    At a terminal, mistakes are told and the conversation goes on; otherwise they end it.
    """
    source = _input()
    screen = Screen(quiet=quiet)
    if source.interactive:
        screen.note("/help tells what else can be typed; Ctrl-C stops an answer, Ctrl-D leaves")
    interrupted = False
    while True:
        try:
            said = source.read()
            if said is None:
                return
            interrupted = False
            if said.startswith("/"):
                if not run_slash_command(said, session, screen):
                    return
            elif said.strip():
                _answer(session.ask(said, params), screen, interactive=source.interactive)
        except KeyboardInterrupt:
            if interrupted or not source.interactive:
                raise
            interrupted = True
            screen.note(_LEAVING, fresh_line=True)
        except DeltaportError as error:
            if not source.interactive:
                raise
            print_error(str(error))


def _input() -> Input:
    if sys.stdin is not None and sys.stdin.isatty():
        return TerminalInput()
    return PipedInput()


def _answer(answer: Answer, screen: Screen, *, interactive: bool) -> None:
    """Show an answer as it comes, until it ends or somebody's Ctrl-C stops it."""
    try:
        # In a pipe nobody asks for the next answer: there Ctrl-C ends everything, as elsewhere.
        with _interrupt_stops(answer) if interactive else nullcontext():
            for part in answer:
                screen.show(part)
    finally:
        answer.close()  # what has come is in the conversation from here on
        screen.end_answer()
    screen.summarize(answer)


@contextmanager
def _interrupt_stops(answer: Answer) -> Iterator[None]:
    """The first Ctrl-C lets the token in hand be finished; a second one does not wait for that."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, before)
        answer.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
