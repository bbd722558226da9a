"""Ways to damage a folder, shared by the tests of bad checkpoints and of bad engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.command import error_line, in_process

__all__ = ["Change", "put_a_folder_in_place_of", "refused_by_inspect", "rewrite"]

Change = Callable[[Path], None]


def put_a_folder_in_place_of(name: str) -> Change:
    """As root may read anything, this stands for every file that cannot be read."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def rewrite(name: str, text: str) -> Change:
    """Replace a file's whole content."""

    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


def refused_by_inspect(path: Path) -> str:
    """The error of ``deltaport inspect``, run in this process as that is quicker."""
    return error_line(in_process("inspect", path))
