"""From exceptions to one line on stderr and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from deltaport.errors import DeltaportError

from .console import print_error

__all__ = ["report_failures"]

_FAILED, _BUG, _INTERRUPTED = 2, 1, 128 + signal.SIGINT
_PIPE_CLOSED = 128 + signal.SIGPIPE


class _Terminated(BaseException):
    """A signal that asks the process to end; like KeyboardInterrupt, it must not be swallowed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def report_failures(*, debug: bool) -> Iterator[None]:
    """Turn whatever the block raises into a message and ``click.exceptions.Exit``.

    The user's errors exit with 2, bugs with 1, Ctrl-C with 130 and SIGTERM with 143, the last two
    after every ``with`` block on the way has cleaned up. ``debug`` adds the traceback.
    """
    try:
        with warnings.catch_warnings(), _signals_as_exceptions():
            if not debug and not sys.warnoptions:
                # A user cannot act on what our dependencies warn each other of.
                warnings.simplefilter("ignore")
            yield
            # Here, where a failure to write can still be reported, and not at interpreter exit.
            sys.stdout.flush()
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BaseException as error:
        status = _report(error, debug=debug)
        if status is None:
            raise
        raise click.exceptions.Exit(status) from None


def _report(error: BaseException, *, debug: bool) -> int | None:
    """Print what is to be said about ``error``; its exit status, or None if it is not for us."""
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough. Nothing is left to say, nor anywhere to say it.
        _silence_streams()
        return _PIPE_CLOSED
    if debug:
        traceback.print_exception(error)
    match error:
        case DeltaportError():
            print_error(str(error))
            return _FAILED
        case KeyboardInterrupt():
            click.echo("interrupted", err=True)
            return _INTERRUPTED
        case _Terminated():
            click.echo("interrupted", err=True)
            return 128 + error.number
        case MemoryError():
            print_error("out of memory; close other programs or use a machine with more of it")
            return _FAILED
        case Exception():
            remedy = "" if debug else "; run it again as 'deltaport --debug ...' for the details"
            print_error(
                f"unexpected {type(error).__name__}: {_first_line(error)}; this is a bug in "
                f"deltaport, please report it{remedy}"
            )
            return _BUG
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _silence_streams() -> None:
    """Point closed pipes at nothing, or Python complains when it flushes them at exit."""
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
