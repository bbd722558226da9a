"""The programs on the page about embedding, built and run as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.runtime.onnxruntime_library import onnxruntime_library
from tests.docs.pages import code_blocks, page
from tests.end_to_end.cpp_programs import build, run
from tests.runtime.toy_engine import EOS, toy_tokens

FILES = {"cpp": "two_rows.cc", "c": "one_row.c", "cmake": "CMakeLists.txt"}
FIRST, SECOND = [3, 1, 4, 1, 5], [9, 2, 6]


@pytest.fixture(scope="module")
def programs(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built programs; a warning is an error."""
    folder = tmp_path_factory.mktemp("embedding_page")
    for language, name in FILES.items():
        [(_, source)] = code_blocks(page("embedding.md"), language)
        (folder / name).write_text(source)
    return build(
        folder,
        folder / "build",
        f"-DCMAKE_PREFIX_PATH={installed}",
        "-DCMAKE_C_FLAGS=-std=c11 -Wall -Wextra -Werror",
        "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror",
    )


@pytest.fixture(autouse=True)
def onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTAPORT_ONNXRUNTIME", str(onnxruntime_library()))


def test_two_rows_in_cpp(programs: Path, toy: Path) -> None:
    done = run(programs / "two_rows", toy)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    rows = [toy_tokens(FIRST, 8, (EOS,)), toy_tokens(SECOND, 4, ())]
    for row, tokens in enumerate(rows):
        found = [line for line in lines if line.startswith(f"row {row}: ")]
        expected = [f"row {row}: {token}" for token in tokens]
        assert found == [*expected[:-1], f"{expected[-1]}, its last"]
    assert [line[:5] for line in lines[:4]] == ["row 0", "row 1"] * 2, "they run side by side"


def test_one_row_in_c(programs: Path, toy: Path) -> None:
    done = run(programs / "one_row", toy)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(map(int, done.stdout.split())) == toy_tokens(FIRST, 8, (EOS,))


@pytest.mark.parametrize("program", ["two_rows", "one_row"])
def test_an_error_is_told(programs: Path, tmp_path: Path, program: str) -> None:
    done = run(programs / program, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no manifest.json" in done.stderr
