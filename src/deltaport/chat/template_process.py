"""The process that renders templates: started when needed, watched, ended, started again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

from deltaport.errors import DeltaportError, EngineError, InputError
from deltaport.strict_json import JsonProblem, one_line, parse_object

__all__ = ["LONGEST_TEXT", "TemplateProcess"]

LONGEST_TEXT = 16 << 20
"""Bytes a conversation may have on its way in, and its text on the way out: millions of tokens."""

_WORKER = Path(__file__).with_name("template_worker.py")
_START = (
    "import sys, runpy; sys.path += sys.argv[2:]; runpy.run_path(sys.argv[1], None, '__main__')"
)
_LIBRARIES = ("jinja2", "markupsafe")
_KEPT_VARIABLES = ("TZ", "TZDIR", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""What the process needs of the environment; the rest is none of a template's business."""


class TemplateProcess:
    """Renders templates in another process, one at a time; safe to share between threads.

    Whatever a template does, a call ends after about ``seconds``, and what it leaves behind is an
    error, or a text of at most ``LONGEST_TEXT`` bytes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes], int], Any] | None = None
        self._owner = 0

    def render(self, template: str, variables: dict[str, Any] | None, *, source: str) -> str:
        """The text ``template`` makes of ``variables``, which are JSON; with None it is compiled.

        ``source``: what errors call the template. Raises ``InputError`` for a conversation that
        the template refuses or that is too long, ``EngineError`` for anything else.
        """
        request = {
            "template": template,
            "variables": variables,
            "seconds": self._seconds + 1,
            "longest": LONGEST_TEXT,
        }
        data = json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        if len(data) > LONGEST_TEXT:
            raise InputError(
                f"the conversation takes {len(data) >> 20} MiB; a chat template is given at most "
                f"{LONGEST_TEXT >> 20} MiB"
            )
        with self._lock:
            line = self._ask(data, source)
        return _text(line, source)

    def close(self) -> None:
        """End the process; the next call starts another."""
        with self._lock:
            self._stop()

    def _ask(self, data: bytes, source: str) -> bytes:
        """The answer to a request. Unless there is one, the process is ended."""
        process = self._running()
        answers: list[bytes] = []
        asking = threading.Thread(target=_exchange, args=(process, data, answers), daemon=True)
        try:
            asking.start()
            asking.join(self._seconds)
            late = asking.is_alive()
        except BaseException:
            self._stop()  # with its answer on the way, it is of no more use
            raise
        if late:
            self._stop()
            asking.join()
            raise EngineError(
                f"{source}: takes longer than {self._seconds:g} s to render; it does not end, or "
                "is not a chat template"
            )
        line = answers[0] if answers else b""
        if not line.endswith(b"\n"):
            self._stop()
            if len(line) > LONGEST_TEXT:
                raise _too_long(source)
            raise EngineError(
                f"{source}: rendering it ended the process that does so; it needs too much memory, "
                "or does what a chat template must not"
            )
        return line

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is not None and self._owner == os.getpid() and process.poll() is None:
            return process
        self._stop()
        self._process = process = _start()
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, process, self._owner)
        return process

    def _stop(self) -> None:
        self._process = None
        if self._end is not None:
            self._end()
            self._end = None


def _start() -> subprocess.Popen[bytes]:
    if not sys.executable or getattr(sys, "frozen", False):
        raise EngineError(
            "chat templates are rendered in a process of their own, and this program has no "
            "python to start; run it with an installed python"
        )
    # Nothing but the standard library and these: no site, no PYTHONPATH, no current folder.
    command = [sys.executable, "-I", "-S", "-c", _START, str(_WORKER), *_library_folders()]
    options: dict[str, Any] = (
        {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        if os.name == "nt"
        else {"start_new_session": True}  # Ctrl-C in the terminal is for us alone
    )
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            **options,
        )
    except OSError as error:
        raise EngineError(
            f"{sys.executable}: cannot be started to render the chat template: {error.strerror}"
        ) from None


def _library_folders() -> list[str]:
    folders: list[str] = []
    for name in _LIBRARIES:
        found = importlib.util.find_spec(name)
        if found is None or not found.origin:
            raise EngineError(f"chat templates need {name}; install it with: pip install {name}")
        folder = str(Path(found.origin).resolve().parents[1])
        if folder not in folders:
            folders.append(folder)
    return folders


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kill and reap: there is nothing in the process to be kept."""
    if owner == os.getpid():  # a fork has its parent's pipes, but not its children
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        try:
            pipe.close()
        except OSError:  # what was still to be written to a process that is gone
            continue


def _exchange(process: subprocess.Popen[bytes], data: bytes, answers: list[bytes]) -> None:
    """Send a request and read its answer, in a thread that killing the process ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(data)
        process.stdin.flush()
        answers.append(process.stdout.readline(LONGEST_TEXT + 1))
    except (OSError, ValueError):  # it died, or was ended
        return


def _text(line: bytes, source: str) -> str:
    """The text of an answer, or the error it describes."""
    try:
        answer = parse_object(line.decode("utf-8", "surrogatepass"))
    except (JsonProblem, UnicodeDecodeError):
        answer = {}
    if isinstance(text := answer.get("text"), str):
        return text
    raise _error(answer, source)


def _error(answer: dict[str, Any], source: str) -> DeltaportError:
    message = one_line(str(answer.get("message", ""))[:300])[:300]
    line = answer.get("line")
    place = f" (line {line})" if isinstance(line, int) else ""
    match answer.get("problem"):
        case "refused":
            return InputError(f"{source}: refuses this conversation: {message or 'no reason'}")
        case "syntax":
            return EngineError(f"{source}: not a template: {message}{place}")
        case "security":
            return EngineError(f"{source}: does what a chat template must not{place}: {message}")
        case "length":
            return _too_long(source)
        case "memory":
            return EngineError(f"{source}: needs too much memory for this conversation")
        case _:
            return EngineError(f"{source}: fails on this conversation{place}: {message}")


def _too_long(source: str) -> EngineError:
    return EngineError(
        f"{source}: makes more than {LONGEST_TEXT >> 20} MiB of text; that is no chat template"
    )
