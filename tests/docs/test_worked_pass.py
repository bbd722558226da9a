"""The worked example of a new pass: one file, found by being there, and one line that runs it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deltaport.errors import InputError
from deltaport.graph_passes.pipeline import parse_pipeline
from deltaport.graph_passes.registry import registered_passes
from tests.docs.pages import ROOT, code_blocks, page
from tests.end_to_end.command import in_process
from tests.passes.extra_passes import passes_in
from tests.passes.graph_text import parse_graph, print_graph
from tools.mutate_guards import mutants

NAME = "fuse-two-scales"
PIPELINE = "fold-constants,fuse-two-scales{max-elements=4},eliminate-dead-code"
GRAPH = """g (int64[N] x) => (int64[N] y) {
    two = Constant<value_int = 2>()
    pair = Constant<value_ints = [3, 4]>()
    a = Mul(x, two)
    y = Mul(a, pair)
}"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The blocks of the page as the files it says they are."""
    _, _, section = page("contributing.md").partition("## Add a pass")
    (_, source), (_, test) = code_blocks(section.partition("\n## ")[0], "python")
    (tmp_path / "passes").mkdir()
    (tmp_path / "passes" / "fuse_two_scales.py").write_text(source)
    (tmp_path / "test_fuse_two_scales.py").write_text(test)
    return tmp_path


def test_it_is_one_file_and_one_line(files: Path) -> None:
    with pytest.raises(InputError, match="there is no such pass"):
        parse_pipeline(PIPELINE)
    with passes_in(files / "passes", "fuse"):
        found = registered_passes()[NAME]
        assert [field.name for field in dataclasses.fields(found)] == ["max_elements"]
        model = parse_graph(GRAPH)
        pipeline = parse_pipeline(PIPELINE)
        assert pipeline.text == PIPELINE
        assert pipeline(model).modified
    assert print_graph(model.graph) == "y = Mul(x, const.int64.2.6_8)"
    assert list(model.graph.initializers) == ["const.int64.2.6_8"]


def test_deltaport_passes_lists_it(files: Path) -> None:
    with passes_in(files / "passes", "fuse"):
        listed = in_process("passes").stdout
    assert NAME in listed
    assert "max-elements=1" in listed
    assert "Make one product of two with constants." in listed
    assert NAME not in in_process("passes").stdout


CONFTEST = """
from pathlib import Path
from deltaport.graph_passes import fuse
fuse.__path__.append(str(Path(__file__).parent / "passes"))
"""


def run_its_test(files: Path) -> subprocess.CompletedProcess[str]:
    (files / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", files]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_its_test_passes(files: Path) -> None:
    result = run_its_test(files)
    assert result.returncode == 0, result.stdout
    assert "11 passed" in result.stdout


def test_its_test_misses_no_guard(files: Path) -> None:
    path = files / "passes" / "fuse_two_scales.py"
    broken = list(mutants(path.read_text()))
    assert len(broken) > 3
    for mutant in broken:
        path.write_text(mutant.source)
        assert run_its_test(files).returncode == 1, mutant.what
