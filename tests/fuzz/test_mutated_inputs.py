"""Damaged files end in success or in one clear error: never a traceback, a hang or a blow-up.

A failure names the seed; ``mutated`` makes that file again.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import deltaport
from tests.fuzz.originals import write_originals
from tests.fuzz.subjects import SUBJECTS, mutated
from tests.fuzz.worker import ADDRESS_SPACE, SECONDS

ROOT = Path(__file__).resolve().parents[2]
PER_COMMAND = 3
"""Damaged files of each subject that also go through each of its commands."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_originals(tmp_path_factory.mktemp("originals"))


def attempts(name: str, originals: Path, scratch: Path, first: int, last: int) -> list[Any]:
    """What became of the damaged files of a subject, each tried by every one of its uses."""
    command = [sys.executable, "-m", "tests.fuzz.worker", name, originals, scratch]
    done = subprocess.run(
        [*map(str, command), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    how = "took too long" if done.returncode == -signal.SIGALRM else "ended its process"
    assert done.returncode == 0, f"{name}, after {rows[-1:]}: {how} ({done.returncode})"
    return rows


def is_clear(text: str, folder: Path) -> bool:
    """Whether an error is one printable line of sane length that says where the fault is."""
    return text.isprintable() and len(text) < 1000 + len(str(folder)) and str(folder) in text


@pytest.mark.parametrize("name", SUBJECTS)
def test_reading(name: str, originals: Path, tmp_path: Path) -> None:
    subject = SUBJECTS[name]
    rows = attempts(name, originals, tmp_path, 0, subject.inputs)
    assert len(rows) == subject.inputs * len(subject.uses)
    for row in rows:
        said = row["said"] or "refused: " + str(tmp_path)
        assert said.startswith("refused: "), row
        assert is_clear(said, tmp_path / subject.folder) or row["said"] is None, row
        assert row["seconds"] < SECONDS / 2, row
    assert rows[-1]["peak_bytes"] - rows[0]["peak_bytes"] < ADDRESS_SPACE / 2
    outcomes = {row["said"] is None for row in rows}
    assert outcomes == {True, False}, "damage that is always or never noticed tests little"


def test_there_are_three_hundred_inputs() -> None:
    assert sum(subject.inputs for subject in SUBJECTS.values()) == 300


@pytest.mark.parametrize("seed", range(PER_COMMAND))
@pytest.mark.parametrize(
    ("name", "command"),
    [(name, command) for name, subject in SUBJECTS.items() for command in subject.commands],
)
def test_the_command_line(
    name: str, command: tuple[str, ...], seed: int, originals: Path, tmp_path: Path
) -> None:
    subject = SUBJECTS[name]
    folder = tmp_path / subject.folder
    shutil.copytree(originals / subject.folder, folder)
    file = folder / subject.file
    file.write_bytes(mutated(subject, file.read_bytes(), seed))
    result = deltaport(*(folder if word == "FOLDER" else word for word in command), timeout=60)
    if result.returncode == 0:
        assert result.stderr == ""
        return
    assert result.returncode == 2, result
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert is_clear(line, folder)
