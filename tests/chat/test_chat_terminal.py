"""``deltaport chat`` on a terminal: typing, Ctrl-C, Ctrl-D."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltaport.chat import Conversation

_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'deltaport', *sys.argv[1:]])"
)
CTRL_C, CTRL_D = "\x03", "\x04"
STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Somebody at a terminal of which chat is the foreground process."""

    def __init__(self, engine: Path, *options: str) -> None:
        self._screen, other = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, "chat", str(engine), *options],
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"},
        )
        os.close(other)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def interrupt_prompt(self) -> None:
        """Ctrl-C once input is waited for; a moment earlier Python's readline overlooks it.

        Between showing the prompt and waiting, a signal is noted, but ends nothing until the next
        key. Nothing outside tells when that is over.
        """
        self.wait_for("> ")
        time.sleep(0.3)
        self.type(CTRL_C)

    def wait_for(self, text: str, *, seconds: float = 60) -> str:
        """What is shown from the last wait to ``text``, without styles."""
        deadline = time.monotonic() + seconds
        while text not in (plain := STYLES.sub("", self.shown)):
            assert time.monotonic() < deadline, self.shown
            if not self._read(0.1):
                raise AssertionError(self.shown)
        end = plain.index(text) + len(text)
        self.shown = plain[end:]
        return plain[:end]

    def wait_for_more(self, characters: int, *, seconds: float = 60) -> None:
        """Let so much be shown, whatever it is."""
        deadline = time.monotonic() + seconds
        while len(STYLES.sub("", self.shown)) < characters:
            assert time.monotonic() < deadline, self.shown
            self._read(0.1)

    def end(self) -> int:
        """Wait for it to leave; its exit status."""
        while self._read(60):
            continue
        return self.process.wait(timeout=60)

    def _read(self, seconds: float) -> bool:
        if select.select([self._screen], [], [], seconds)[0]:
            try:
                piece = os.read(self._screen, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                return False
            self.shown += piece.decode(errors="replace")
            return bool(piece)
        return True

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


@pytest.fixture
def terminal(chat_engine: Path) -> Iterator[Terminal]:
    opened = Terminal(chat_engine, "--greedy", "-n", "12", "--threads", "2")
    yield opened
    opened.close()


@pytest.fixture
def talkative(chat_engine: Path) -> Iterator[Terminal]:
    """Its answers take a while."""
    opened = Terminal(chat_engine, "--greedy", "--ignore-eos", "--no-thinking", "--threads", "1")
    yield opened
    opened.close()


def test_questions_are_answered_and_mistakes_forgiven(terminal: Terminal) -> None:
    terminal.wait_for("> ")
    terminal.type("Hello?\n")
    assert "read" in terminal.wait_for("tokens/s after the first)")
    terminal.wait_for("> ")
    terminal.type("/dance\n")
    terminal.wait_for("error: '/dance' is not a command")
    terminal.type("/help\n")
    terminal.wait_for("/load FILE")
    terminal.wait_for("> ")
    terminal.type(CTRL_D)
    assert terminal.end() == 0


def test_lines_can_be_joined(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for("> ")
    terminal.type("one\\\ntwo\n")
    terminal.wait_for("tokens/s")
    terminal.type('"""three\n\nfour"""\n')
    terminal.wait_for("tokens/s")
    terminal.type(f"/save {tmp_path / 'talk.json'}\n")
    terminal.wait_for("4 messages saved")
    terminal.type("/quit\n")
    assert terminal.end() == 0
    messages = Conversation.load(tmp_path / "talk.json").messages
    assert [m["content"] for m in messages[::2]] == ["one\ntwo", "three\n\nfour"]


def test_reasoning_is_dim(terminal: Terminal) -> None:
    terminal.wait_for("> ")
    terminal.type("Hello?\n")
    deadline = time.monotonic() + 60
    while "tokens/s" not in terminal.shown:
        assert time.monotonic() < deadline
        terminal._read(0.1)
    answer = terminal.shown.partition("Hello?")[2].partition("token")[0]
    assert "\x1b[2m" in answer


def test_ctrl_c_stops_an_answer_and_keeps_it(talkative: Terminal, tmp_path: Path) -> None:
    talkative.wait_for("> ")
    talkative.type("Hello?\n")
    talkative.wait_for("Hello?")
    talkative.wait_for_more(20)
    talkative.type(CTRL_C)
    assert "Traceback" not in talkative.wait_for("; stopped")
    talkative.wait_for("> ")
    talkative.type(f"/save {tmp_path / 'talk.json'}\n")
    talkative.wait_for("2 messages saved")
    talkative.interrupt_prompt()
    talkative.wait_for("Ctrl-C again, Ctrl-D or /quit leaves")
    talkative.interrupt_prompt()
    assert talkative.end() == 130
    assert "Traceback" not in talkative.shown
    [_, answer] = Conversation.load(tmp_path / "talk.json").messages
    assert answer["content"]


def test_a_second_ctrl_c_in_a_row_leaves_only_if_nothing_was_said_between(
    terminal: Terminal,
) -> None:
    terminal.interrupt_prompt()
    terminal.wait_for("leaves")
    terminal.type("/reset\n")
    terminal.wait_for("started anew")
    terminal.type("half a line")
    terminal.interrupt_prompt()
    terminal.wait_for("leaves")
    terminal.type("/quit\n")
    assert terminal.end() == 0
