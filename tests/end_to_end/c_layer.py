"""What tests of the C layer share: libdeltaport by ctypes, over a toy engine."""

from __future__ import annotations

import ctypes
from pathlib import Path

from tests.runtime.toy_engine import VOCAB

__all__ = [
    "CANCELLED",
    "CAPACITY",
    "ENGINE",
    "INPUT",
    "OK",
    "OUTPUT",
    "load",
    "open_engine",
    "open_session",
    "prefill",
    "token_count",
]

OK, INPUT, CAPACITY, ENGINE, CANCELLED, _, OUTPUT = range(7)


def load(installed: Path) -> ctypes.CDLL:
    """The library of a prefix."""
    found = ctypes.CDLL(str(installed / "lib" / "libdeltaport.so"))
    found.deltaport_last_error.restype = ctypes.c_char_p
    return found


class RowTokens(ctypes.Structure):
    _fields_ = (
        ("row", ctypes.c_int64),
        ("tokens", ctypes.POINTER(ctypes.c_int64)),
        ("count", ctypes.c_size_t),
    )


def open_engine(library: ctypes.CDLL, folder: Path) -> ctypes.c_void_p:
    engine = ctypes.c_void_p()
    opened = library.deltaport_engine_open(bytes(folder), None, ctypes.byref(engine))
    assert opened == OK, library.deltaport_last_error()
    return engine


def open_session(library: ctypes.CDLL, folder: Path, rows: int, context: int) -> ctypes.c_void_p:
    """A session whose engine's handle is closed already."""
    engine, session = open_engine(library, folder), ctypes.c_void_p()
    sizes = (ctypes.c_int64(rows), ctypes.c_int64(context))
    assert library.deltaport_session_open(engine, *sizes, ctypes.byref(session)) == OK
    assert library.deltaport_engine_close(engine) == OK
    return session


def prefill(
    library: ctypes.CDLL, session: ctypes.c_void_p, *given: tuple[int, list[int]]
) -> tuple[int, list[float]]:
    """Its status and the logits of each row given, zeros where nothing was written."""
    rows = [RowTokens(row, (ctypes.c_int64 * len(ids))(*ids), len(ids)) for row, ids in given]
    logits = (ctypes.c_float * (len(rows) * VOCAB))()
    status = library.deltaport_session_prefill(
        session,
        (RowTokens * len(rows))(*rows),
        ctypes.c_size_t(len(rows)),
        logits,
        ctypes.c_size_t(len(logits)),
    )
    return status, list(logits)


def token_count(library: ctypes.CDLL, session: ctypes.c_void_p, row: int) -> int:
    count = ctypes.c_size_t()
    at, none = ctypes.c_int64(row), ctypes.c_size_t(0)
    assert library.deltaport_session_tokens(session, at, None, none, ctypes.byref(count)) == OK
    return count.value
