"""A file that several want is made once, whoever comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.cpp_programs import ROOT
from tests.made_once import made_once

MAKER = """
import os, sys, time
from pathlib import Path
from tests.made_once import made_once

def make(new):
    time.sleep(0.3)
    new.write_text(str(os.getpid()))
    with Path(sys.argv[1]).with_name("made").open("a") as made:
        made.write("x")

print(made_once(Path(sys.argv[1]), make).read_text())
"""


def test_processes_share_what_one_of_them_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKER, str(tmp_path / "library")]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = {process.communicate()[0] for process in running}
    assert len(said) == 1, "each has what the first one made, and all of it"
    assert said <= {f"{process.pid}\n" for process in running}
    assert (tmp_path / "made").read_text() == "x"


def test_what_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    def fail(new: Path) -> None:
        new.write_text("half of it")
        raise AssertionError("the compiler")

    with pytest.raises(AssertionError, match="the compiler"):
        made_once(tmp_path / "library", fail)
    found = made_once(tmp_path / "library", lambda new: new.write_text("all"))
    assert found.read_text() == "all"


def test_processes_have_one_folder_for_it(
    compiled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    assert compiled.parent == (base if alone else base.parent)
