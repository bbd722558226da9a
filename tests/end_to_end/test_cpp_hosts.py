"""Programs in C++ that run engines, built as their authors would build them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deltaport.runtime import Engine, SamplingParams
from deltaport.runtime.onnxruntime_library import onnxruntime_library
from tests.end_to_end.cpp_programs import ROOT, build, run
from tests.runtime.toy_engine import EOS, toy_tokens, write_toy
from tests.runtime.toy_tokenizer import write_toy_tokenizer


@pytest.fixture(scope="module")
def hosts(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built examples."""
    folder = tmp_path_factory.mktemp("hosts")
    return build(ROOT / "examples" / "cpp_host", folder, f"-DCMAKE_PREFIX_PATH={installed}")


def test_two_sequences_in_one_batch(hosts: Path, toy: Path) -> None:
    arguments = (toy, 1, 2, 3, "--", 7, "--new", 9, "--onnxruntime", onnxruntime_library())
    done = run(hosts / "cpp_host", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[int, list[int]] = {0: [], 1: []}
    for line in done.stdout.splitlines():
        row, token = map(int, line.split())
        found[row].append(token)
    assert list(found.values()) == [toy_tokens(p, 9, (EOS,)) for p in ([1, 2, 3], [7])]


def test_the_library_is_found_by_its_variable(hosts: Path, toy: Path) -> None:
    named = {"DELTAPORT_ONNXRUNTIME": str(onnxruntime_library())}
    assert run(hosts / "cpp_host", toy, 1, environment=named).returncode == 0


@pytest.mark.parametrize(
    ("engine", "tokens", "library", "message"),
    [
        ("nowhere", "1", None, "no such engine folder"),
        (None, "99", None, "99 is not a token id below"),
        (None, "1", "/nowhere.so", "cannot be loaded"),
        (None, "1", __file__, "cannot be loaded"),
    ],
)
def test_errors_are_one_line(
    hosts: Path, toy: Path, engine: str | None, tokens: str, library: str | None, message: str
) -> None:
    arguments = (engine or toy, tokens, "--onnxruntime", library or onnxruntime_library())
    done = run(hosts / "cpp_host", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_sequences_from_many_threads(hosts: Path, toy: Path) -> None:
    done = run(hosts / "stress", toy, "--onnxruntime", onnxruntime_library())
    assert done.returncode == 0, done.stderr
    assert "tokens as expected" in done.stdout


def test_python_embedded_in_a_cpp_application(tmp_path: Path) -> None:
    """Needs the interpreter's headers and library: python3-dev of the system's Python."""
    folder = write_toy(tmp_path / "engine")
    write_toy_tokenizer(folder)
    source = ROOT / "examples" / "cpp_host_python"
    host = build(source, tmp_path / "host", f"-DPython_EXECUTABLE={sys.executable}")
    text = "abcd"
    done = run(host / "cpp_host_python", folder, text, "--new", 5, "--python", sys.executable)
    assert (done.returncode, done.stderr) == (0, "")
    params = SamplingParams(max_new_tokens=5)
    [expected] = Engine.open(folder).session().generate([text], params)
    assert done.stdout == f"{expected.text}\n"
    done = run(host / "cpp_host_python", tmp_path, text, "--python", sys.executable)
    assert done.returncode == 2
    assert "has no manifest.json" in done.stderr
