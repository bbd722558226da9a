"""From exceptions to one line on stderr and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from deltaport.errors import DeltaportError

from .console import print_error

__all__ = ["Reporting", "reporting_failures"]

_FAILED, _BUG, _INTERRUPTED = 2, 1, 128 + signal.SIGINT
_PIPE_CLOSED = 128 + signal.SIGPIPE


@dataclass
class Reporting:
    """How failures are reported. ``debug`` adds the traceback, and is known only once parsed."""

    debug: bool = False


class _Terminated(BaseException):
    """A signal that asks the process to end; like KeyboardInterrupt, it must not be swallowed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def reporting_failures(command: Callable[[Reporting], int]) -> int:
    """Call ``command`` and return its exit status, or that of whatever it raised, reported.

    The user's errors give 2, bugs 1, Ctrl-C 130 and SIGTERM 143, the last two after every ``with``
    block on the way has cleaned up.
    """
    reporting = Reporting()
    try:
        _open_missing_streams()
        with warnings.catch_warnings(), _signals_as_exceptions():
            status = command(reporting)
            # Here, where a failure to write can still be reported, and not at interpreter exit.
            sys.stdout.flush()
            return status
    except SystemExit:
        raise
    except BaseException as error:
        with suppress(OSError):  # nobody may be left to tell; the exit status says it too
            _report(error, debug=reporting.debug)
        _silence_streams()
        return _status(error)


def _status(error: BaseException) -> int:
    match error:
        case BrokenPipeError():
            return _PIPE_CLOSED
        case KeyboardInterrupt():
            return _INTERRUPTED
        case _Terminated():
            return 128 + error.number
        case DeltaportError() | MemoryError():
            return _FAILED
    return _BUG


def _report(error: BaseException, *, debug: bool) -> None:
    if isinstance(error, BrokenPipeError):
        return  # whoever read our output has seen enough
    if debug:
        import traceback

        traceback.print_exception(error)
    match error:
        case KeyboardInterrupt() | _Terminated():
            print("interrupted", file=sys.stderr)
        case DeltaportError():
            print_error(str(error))
        case MemoryError():
            print_error("out of memory; close other programs or use a machine with more of it")
        case _:
            remedy = "" if debug else "; run it again as 'deltaport --debug ...' for the details"
            print_error(
                f"unexpected {type(error).__name__}: {_first_line(error)}; this is a bug in "
                f"deltaport, please report it{remedy}"
            )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _open_missing_streams() -> None:
    """Let output that the shell has closed, as with ``>&-``, go nowhere.

    Their numbers are taken first, or the next file to be opened would get what others print to.
    """
    while (filler := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(filler)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _silence_streams() -> None:
    """Point what cannot be written at nothing, or Python complains when it flushes it at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nothing, stream.fileno())
    os.close(nothing)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let the polite signals unwind the stack, as Ctrl-C does, so that nothing half-made stays."""

    def end(number: int, _: FrameType | None) -> None:
        raise _Terminated(number)

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # An ignored signal stays ignored: that is how nohup works.
        if signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
