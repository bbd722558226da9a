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
BINDINGS = "deltaport.custom_ops.torch_bindings"
#: What nothing in a room may import, at any depth; the table of docs/architecture.md.
FORBIDDEN = {
    "custom_ops": {"torch", "deltaport.exporter", "deltaport.graph_passes"},
    "graph_passes": {"torch", "deltaport.exporter", BINDINGS},
    "runtime": COMPILER_ONLY
    | {"fcntl", "deltaport.custom_ops", "deltaport.exporter", "deltaport.graph_passes"},
}


def loaded_by(statement: str) -> set[str]:
    """Names of all modules a fresh interpreter holds after ``statement``."""
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    return set(json.loads(done.stdout))


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def modules_of(room: str) -> list[str]:
    """Full names of a room's modules, without the torch bindings."""
    paths = [path for path in sources() if relative(path).startswith(f"{room}/")]
    names = [f"deltaport.{relative(path)[:-3].replace('/', '.')}" for path in paths]
    return [name.removesuffix(".__init__") for name in names if not within(name, {BINDINGS})]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    modules = modules_of(room)
    loaded = loaded_by(f"import {', '.join(modules)}")
    assert set(modules) <= loaded
    # fcntl is for the room's own files: subprocess, which numpy imports, tries it as well.
    assert not [name for name in loaded if within(name, FORBIDDEN[room] - {"fcntl"})]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_function_of_a_room_imports_what_the_room_may_not(room: str) -> None:
    for path in sources():
        if relative(path).startswith(f"{room}/") and "torch_bindings" not in path.parts:
            wrong = [name for name in imports_of(path) if within(name, FORBIDDEN[room])]
            assert not wrong, relative(path)


def test_the_runtime_runs_where_there_is_no_fcntl() -> None:
    loaded = loaded_by("sys.modules['fcntl'] = None; import deltaport.runtime")
    assert {"deltaport.runtime.session", "numpy"} <= loaded
    # Its library is loaded with the first engine; its Python module, a second copy, never.
    assert "onnxruntime" not in loaded


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


def test_only_compiler_and_oracles_import_torch() -> None:
    importers = {path for path in sources() if "torch" in roots_of(path)}
    assert importers, "somebody must import torch, or this test looks at the wrong files"
    rooms = ("exporter/", "custom_ops/torch_bindings/", "src/deltaport/verify/")
    allowed = (*rooms, "tests/", "examples/", "benchmarks/")
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
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def test_rooms_are_imported_under_their_full_name_only() -> None:
    # The repository's root is on sys.path in tests, so a bare name would load a module twice.
    for path in sources():
        assert not roots_of(path) & set(ROOMS), relative(path)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_found_and_scanned(room: str) -> None:
    assert [path for path in sources() if relative(path).startswith(f"{room}/")]
