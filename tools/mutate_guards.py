"""Break the guards of passes one at a time, and see whether a test fails.

``python -m tools.mutate_guards [FILE ...]`` takes files of ``graph_passes``, by default all passes.
A guard is an ``if`` whose body is a single ``return False``, ``return None``, ``continue`` or
``raise``; it is broken by never refusing, and by leaving out each term of its ``or`` but those that
ask for None. Guards that no test misses are listed, and the exit status is 1.

A guard that cannot change anything, because it only tells a type checker what another guard saw
to, ends in the comment ``# for the type checker``.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib.util
import os
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "main", "mutants", "survivors"]

ROOT = Path(__file__).resolve().parents[1]
PASSES = ROOT / "graph_passes"
TESTS = ROOT / "tests" / "passes"
FOLDERS = ("clean", "fold", "fuse", "lower", "verify")
SHARED = {
    **dict.fromkeys(("products", "silu"), "test_fuse_*.py"),
    **dict.fromkeys(
        (
            "backend_calls",
            "own_calls",
            "recipe_checks",
            "standard_calls",
            "structure",
            "tensor_types",
            "verify_graph",
        ),
        "test_verify_graph*.py",
    ),
    "dtype_borders": "test_lower_precision.py",
}
"""Parts of passes that are not tested by a file of their own name, and the tests of those."""
WAIVER = "# for the type checker"


@dataclass(frozen=True)
class Mutant:
    """A file with one guard broken."""

    line: int
    what: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Every way to break one guard of a file."""
    tree, lines = ast.parse(source), source.splitlines()
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _refuses(node)]
    for index, guard in enumerate(guards):
        if any(WAIVER in line for line in lines[guard.lineno - 1 : guard.body[0].lineno]):
            continue
        for what, test in _weaker(guard.test):
            mutated = copy.deepcopy(tree)
            same = [each for each in ast.walk(mutated) if isinstance(each, ast.If)]
            [each for each in same if _refuses(each)][index].test = test
            yield Mutant(guard.lineno, what, ast.unparse(ast.fix_missing_locations(mutated)))


def _refuses(node: ast.If) -> bool:
    if len(node.body) != 1 or node.orelse:
        return False
    (only,) = node.body
    if isinstance(only, ast.Return):
        return isinstance(only.value, ast.Constant) and not only.value.value
    return isinstance(only, ast.Continue | ast.Raise)


def _weaker(test: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    yield f"never: {ast.unparse(test)}", ast.Constant(False)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        for term in test.values:
            if ast.unparse(term).endswith(" is None"):
                continue  # it narrows a type: without it Python would raise, not rewrite wrongly
            rest = [other for other in test.values if other is not term]
            weaker = rest[0] if len(rest) == 1 else ast.BoolOp(ast.Or(), rest)
            yield f"without: {ast.unparse(term)}", weaker


def survivors(path: Path, tests: Sequence[Path]) -> list[Mutant]:
    """Mutants of the file with which all of ``tests`` pass."""
    name = ".".join(("deltaport", *path.relative_to(ROOT).with_suffix("").parts))
    source = path.read_text(encoding="utf-8")
    if not _passes(name, path, Mutant(0, "nothing", source), tests):
        raise SystemExit(f"{path.relative_to(ROOT)}: its tests fail as it is")
    found = list(mutants(source))
    return [mutant for mutant in found if _passes(name, path, mutant, tests)]


def _passes(name: str, path: Path, mutant: Mutant, tests: Sequence[Path]) -> bool:
    """Run the tests in a child that sees the mutant in place of the file."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):  # any failure is a mutant that was found
            status = _run(name, path, mutant, tests)
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _run(name: str, path: Path, mutant: Mutant, tests: Sequence[Path]) -> int:
    import pytest

    with open(os.devnull, "w") as silence:  # noqa: PTH123 it is a device
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), 2)
    # Whatever imported the module before must do so again.
    for loaded in [each for each in sys.modules if each.startswith(("deltaport.", "tests."))]:
        del sys.modules[loaded]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "it is a file of Python"
    module = types.ModuleType(name)
    module.__spec__, module.__file__ = spec, str(path)
    importlib.import_module(name.rpartition(".")[0])
    sys.modules[name] = module
    exec(compile(mutant.source, str(path), "exec"), module.__dict__)
    arguments = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *map(str, tests)]
    return int(pytest.main(arguments))


def tests_of(path: Path) -> list[Path]:
    """The test files that must notice a broken guard of a file."""
    return sorted(TESTS.glob(SHARED.get(path.stem, f"test_{path.stem}.py")))


def main(arguments: Sequence[str]) -> int:
    """Print the guards no test misses; the exit status says whether there are any."""
    files = [Path(each).resolve() for each in arguments] or [
        path
        for folder in FOLDERS
        for path in sorted((PASSES / folder).glob("*.py"))
        if path.stem != "__init__"
    ]
    alive = 0
    for path in files:
        if not any(mutants(path.read_text(encoding="utf-8"))):
            continue  # nothing to break
        tests = tests_of(path)
        found = survivors(path, tests) if tests else []
        state = f"{len(found)} not missed" if tests else "no test file"
        print(f"{path.relative_to(ROOT)}: {state}", flush=True)
        for mutant in found:
            print(f"  line {mutant.line}: {mutant.what}")
        alive += len(found) + (not tests)
    return 1 if alive else 0


if __name__ == "__main__":
    # Loaded once, here: children start with them.
    import onnx.reference  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch  # noqa: F401

    sys.exit(main(sys.argv[1:]))
