"""The C layer sets rows aside, in files that Python reads too, winds them back, keeps prompts."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from deltaport.runtime import Engine, Snapshot
from tests.end_to_end.c_layer import (
    INPUT,
    OK,
    OUTPUT,
    open_engine,
    open_session,
    prefill,
    token_count,
)
from tests.runtime.toy_engine import toy_logits, write_toy

PROMPT = [3, 1, 4, 1, 5]


def usage_of(library: ctypes.CDLL, cache: ctypes.c_void_p) -> tuple[int, int, int, int]:
    """Bytes, prompts, hits, misses."""
    size, counts = ctypes.c_size_t(), [ctypes.c_int64() for _ in range(3)]
    places = [ctypes.byref(place) for place in (size, *counts)]
    assert library.deltaport_prefix_cache_usage(cache, *places) == OK
    assert library.deltaport_prefix_cache_usage(cache, *[None] * 4) == OK
    prompts, hits, misses = (count.value for count in counts)
    return size.value, prompts, hits, misses


@pytest.fixture
def session(library: ctypes.CDLL, toy: Path) -> ctypes.c_void_p:
    """Two rows, the first with a prompt."""
    found = open_session(library, toy, 2, 40)
    assert prefill(library, found, (0, PROMPT))[0] == OK
    return found


def snapshot_of(library: ctypes.CDLL, session: ctypes.c_void_p, row: int) -> ctypes.c_void_p:
    snapshot = ctypes.c_void_p()
    made = library.deltaport_session_snapshot(session, ctypes.c_int64(row), ctypes.byref(snapshot))
    assert made == OK
    return snapshot


def test_files_go_from_c_to_python_and_back(
    library: ctypes.CDLL, toy: Path, session: ctypes.c_void_p, tmp_path: Path
) -> None:
    path = tmp_path / "from c"
    assert library.deltaport_snapshot_save(snapshot_of(library, session, 0), bytes(path)) == OK
    engine = Engine.open(toy, threads=1)
    found = Snapshot.load(path, engine)
    assert found.tokens == tuple(PROMPT)
    python = engine.session()
    python.restore(0, found)
    python.prefill([[7]])
    python.snapshot(0).save(tmp_path / "from python")

    opened, back = open_engine(library, toy), ctypes.c_void_p()
    arguments = (opened, bytes(tmp_path / "from python"), ctypes.byref(back))
    assert library.deltaport_snapshot_load(*arguments) == OK, library.deltaport_last_error()
    assert library.deltaport_session_restore(session, ctypes.c_int64(1), back) == OK
    expected = [*toy_logits([*PROMPT, 7, 2])[-1]]
    assert prefill(library, session, (1, [2])) == (OK, expected)


def test_files_that_are_refused(
    library: ctypes.CDLL, toy: Path, session: ctypes.c_void_p, tmp_path: Path
) -> None:
    engine, back, path = open_engine(library, toy), ctypes.c_void_p(), tmp_path / "file"
    snapshot = snapshot_of(library, session, 0)
    nowhere = bytes(tmp_path / "nowhere" / "file")
    assert library.deltaport_snapshot_save(snapshot, nowhere) == OUTPUT
    assert b"cannot be written: No such file" in library.deltaport_last_error()
    load = library.deltaport_snapshot_load
    assert load(engine, bytes(path), ctypes.byref(back)) == INPUT
    assert b"no such snapshot" in library.deltaport_last_error()
    assert library.deltaport_snapshot_save(snapshot, bytes(path)) == OK
    other = open_engine(library, write_toy(tmp_path / "other", model={"another": 1}))
    assert load(other, bytes(path), ctypes.byref(back)) == INPUT
    assert b"taken with another engine" in library.deltaport_last_error()
    path.write_bytes(path.read_bytes()[:-1])
    assert load(engine, bytes(path), ctypes.byref(back)) == INPUT
    assert library.deltaport_last_error().decode().startswith(str(path))
    assert not back


def test_a_row_is_wound_back(library: ctypes.CDLL, session: ctypes.c_void_p) -> None:
    snapshot, row = snapshot_of(library, session, 0), ctypes.c_int64(0)
    assert prefill(library, session, (0, [9, 9, 9]))[0] == OK
    given = (ctypes.c_void_p * 1)(snapshot)
    rewind = library.deltaport_session_rewind
    assert rewind(session, row, ctypes.c_int64(6), None, ctypes.c_size_t(0)) == INPUT
    assert b"cannot be wound back to 6 tokens" in library.deltaport_last_error()
    assert rewind(session, row, ctypes.c_int64(9), given, ctypes.c_size_t(1)) == INPUT
    nothing = (ctypes.c_void_p * 1)()
    assert rewind(session, row, ctypes.c_int64(6), nothing, ctypes.c_size_t(1)) == INPUT
    assert b"is null" in library.deltaport_last_error()
    assert token_count(library, session, 0) == 8
    assert rewind(session, row, ctypes.c_int64(6), given, ctypes.c_size_t(1)) == OK
    assert prefill(library, session, (0, [2])) == (OK, [*toy_logits([*PROMPT, 9, 2])[-1]])


def test_prompts_that_begin_alike(library: ctypes.CDLL, toy: Path) -> None:
    cache = ctypes.c_void_p()
    make = library.deltaport_prefix_cache_new
    assert make(ctypes.c_size_t(1 << 20), ctypes.c_int64(-1), ctypes.byref(cache)) == INPUT
    assert make(ctypes.c_size_t(1 << 20), ctypes.c_int64(3), ctypes.byref(cache)) == OK
    for prompt in (PROMPT, [*PROMPT, 8], [*PROMPT, 9]):
        session = open_session(library, toy, 1, 40)
        assert library.deltaport_session_use_prefixes(session, cache) == OK
        assert prefill(library, session, (0, prompt)) == (OK, [*toy_logits(prompt)[-1]])
        assert library.deltaport_session_close(session) == OK
    size, *counts = usage_of(library, cache)
    assert (size > 0, *counts) == (True, 1, 2, 1)
    session = open_session(library, toy, 1, 40)
    assert library.deltaport_session_use_prefixes(session, cache) == OK
    assert library.deltaport_session_use_prefixes(session, None) == OK
    assert prefill(library, session, (0, PROMPT))[0] == OK
    assert library.deltaport_prefix_cache_clear(cache) == OK
    assert usage_of(library, cache) == (0, 0, 2, 1)
    assert library.deltaport_prefix_cache_free(cache) == OK
