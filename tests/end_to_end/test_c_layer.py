"""The C layer of an installed libdeltaport: its symbols, its refusals, and what it gives."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from tests.end_to_end.c_layer import (
    CANCELLED,
    CAPACITY,
    ENGINE,
    INPUT,
    OK,
    open_session,
    prefill,
    token_count,
)
from tests.end_to_end.cpp_programs import succeed
from tests.runtime.toy_engine import POISON, VOCAB, toy_logits, write_toy


@pytest.fixture(scope="module")
def header(installed: Path) -> str:
    return (installed / "include" / "deltaport" / "deltaport.h").read_text()


def test_what_is_installed(installed: Path, header: str) -> None:
    headers = {path.relative_to(installed).as_posix() for path in installed.rglob("*.h*")}
    assert headers == {"include/deltaport/deltaport.h", "include/deltaport/deltaport.hpp"}
    version = re.search(r"^#define DELTAPORT_API_VERSION (\d+)$", header, re.MULTILINE)
    assert version
    assert (installed / "lib" / f"libdeltaport.so.{version[1]}").is_file()
    assert (installed / "lib" / "cmake" / "deltaport" / "deltaportConfig.cmake").is_file()
    assert not (installed / "deltaport").exists(), "that is where Python's files go"


def test_the_header_is_plain_c(installed: Path, tmp_path: Path) -> None:
    source = tmp_path / "host.c"
    source.write_text(
        "#include <deltaport/deltaport.h>\n"
        "int main(void) { return deltaport_api_version() == DELTAPORT_API_VERSION ? 0 : 1; }\n"
    )
    strict = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only")
    succeed("cc", *strict, f"-I{installed / 'include'}", source)


def test_only_the_c_layer_is_exported_and_all_of_it(installed: Path, header: str) -> None:
    listing = succeed("nm", "-D", "--defined-only", installed / "lib" / "libdeltaport.so")
    exported = {line.split()[-1] for line in listing.splitlines()}
    assert exported == set(re.findall(r"^DELTAPORT_API .*?(deltaport_\w+)\(", header, re.MULTILINE))


def test_null_is_an_input_error_everywhere(library: ctypes.CDLL, header: str) -> None:
    names = re.findall(r"^DELTAPORT_API deltaport_status (\w+)\(", header, re.MULTILINE)
    assert len(names) == header.count("\nDELTAPORT_API ") - 2  # api_version and last_error
    for name in names:
        # More arguments than any of them takes.
        assert getattr(library, name)(*[ctypes.c_void_p()] * 8) == INPUT, name
        assert b" is null; pass one" in library.deltaport_last_error(), name


def test_a_prefill_gives_the_logits_of_each_row(library: ctypes.CDLL, toy: Path) -> None:
    session = open_session(library, toy, 2, 20)
    expected = [*toy_logits([1, 2, 3])[-1], *toy_logits([4])[-1]]
    assert prefill(library, session, (0, [1, 2, 3]), (1, [4])) == (OK, expected)
    expected = [*[0.0] * VOCAB, *toy_logits([1, 2, 3, 5])[-1]]
    assert prefill(library, session, (1, []), (0, [5])) == (OK, expected)
    assert library.deltaport_session_close(session) == OK


@pytest.mark.parametrize(
    ("status", "given", "message"),
    [
        (INPUT, [(0, [1]), (0, [2])], "row 0 is given twice"),
        (INPUT, [(0, [1]), (1, [VOCAB])], "row 1, token 0"),
        (INPUT, [(0, [1]), (7, [2])], "row is 7, which is not open"),
        (CAPACITY, [(0, [1]), (1, [2] * 20)], "exceed the context of 20"),
        (ENGINE, [(0, [1, POISON]), (1, [2])], "a step failed"),
        (CANCELLED, [(0, [1]), (1, [2])], "cancelled"),
    ],
)
def test_a_prefill_that_fails_is_taken_back(
    library: ctypes.CDLL, toy: Path, status: int, given: list[tuple[int, list[int]]], message: str
) -> None:
    session = open_session(library, toy, 2, 20)
    assert prefill(library, session, (0, [1, 2, 3]), (1, [4]))[0] == OK
    if status == CANCELLED:
        assert library.deltaport_session_cancel(session) == OK
    assert prefill(library, session, *given) == (status, [0.0] * (2 * VOCAB))
    assert message in library.deltaport_last_error().decode()
    assert [token_count(library, session, row) for row in (0, 1)] == [3, 1]
    # What follows is as if it had never been.
    expected = [*toy_logits([1, 2, 3, 6])[-1], *toy_logits([4, 7])[-1]]
    assert prefill(library, session, (0, [6]), (1, [7])) == (OK, expected)
    assert library.deltaport_session_close(session) == OK


def test_kernels_are_found_beside_the_library(
    library: ctypes.CDLL, installed: Path, tmp_path: Path
) -> None:
    folder = write_toy(tmp_path / "engine", target="ort-cpu")
    kernels = installed / "lib" / "ort_kernels.so"
    aside, engine = kernels.rename(kernels.with_suffix(".aside")), ctypes.c_void_p()
    try:
        opened = library.deltaport_engine_open(bytes(folder), None, ctypes.byref(engine))
    finally:
        aside.rename(kernels)
    assert opened == ENGINE
    assert f"{kernels}: cannot be loaded" in library.deltaport_last_error().decode()

    session = open_session(library, folder, 1, 64)
    assert prefill(library, session, (0, [1, 2, 3])) == (OK, [*toy_logits([1, 2, 3])[-1]])
    assert library.deltaport_session_close(session) == OK
