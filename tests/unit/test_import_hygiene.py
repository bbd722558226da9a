"""Who may import what: the runtime stays light, and every file has one name."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("custom_ops", "exporter", "graph_passes", "runtime")
COMPILER_ONLY = {"torch", "onnx", "onnx_ir", "onnxscript", "transformers", "ml_dtypes"}


def loaded_by(statement: str) -> set[str]:
    """Names of all modules a fresh interpreter holds after ``statement``."""
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    return set(json.loads(done.stdout))


def test_the_runtime_needs_nothing_of_the_compiler() -> None:
    loaded = loaded_by("import deltaport.runtime; deltaport.runtime.Engine.open")
    assert {"deltaport.runtime.session", "onnxruntime", "numpy"} <= loaded
    assert not COMPILER_ONLY & loaded
    for room in ("custom_ops", "exporter", "graph_passes"):
        assert not {name for name in loaded if name.startswith(f"deltaport.{room}")}


def test_the_runtime_runs_without_the_compiler_installed() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(COMPILER_ONLY))
    loaded_by(f"{blocked}; import deltaport.runtime, deltaport.package, deltaport.numerics")


def test_the_package_itself_loads_nothing_heavy() -> None:
    before, after = loaded_by("pass"), loaded_by("import deltaport")
    assert {name.partition(".")[0] for name in after - before} <= {
        "deltaport"
    } | sys.stdlib_module_names


def test_errors_and_package_need_only_the_standard_library() -> None:
    loaded = loaded_by("import deltaport.errors, deltaport.package, deltaport.state_layout")
    assert not (COMPILER_ONLY | {"numpy", "onnxruntime"}) & loaded


def test_only_the_exporter_and_the_torch_bindings_import_torch() -> None:
    importers = {path for path in sources() if "torch" in roots_of(path)}
    assert importers, "somebody must import torch, or this test looks at the wrong files"
    allowed = ("exporter/", "custom_ops/torch_bindings/", "tests/", "examples/", "benchmarks/")
    assert not [path for path in importers if not relative(path).startswith(allowed)]


def sources() -> list[Path]:
    folders = [*ROOMS, "src", "tests", "examples", "benchmarks"]
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[str]:
    """Full names of what a file imports absolutely, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def roots_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def test_rooms_are_imported_under_their_full_name_only() -> None:
    # The repository's root is on sys.path in tests, so a bare name would load a module twice.
    for path in sources():
        assert not roots_of(path) & set(ROOMS), relative(path)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_found_and_scanned(room: str) -> None:
    assert [path for path in sources() if relative(path).startswith(f"{room}/")]
