"""How far an export has written its weights, so that one that was killed can be gone on with."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from deltaport.strict_json import JsonProblem, parse_object

__all__ = ["JOURNAL_NAME", "Progressed", "WriteJournal"]

JOURNAL_NAME = ".resume.json"
"""A folder that was left half-made and holds this is worth going on with."""
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Progressed:
    """So many ``weights`` are in the file, and take so many ``bytes`` of this ``FileDigest``."""

    weights: int
    bytes: int
    sha256: str


class WriteJournal:
    """Notes in ``folder`` how far the file of weights is.

    ``fingerprint`` stands for all that the bytes of this file depend on: notes of an export with
    another one are of no use.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._path = folder / JOURNAL_NAME
        self._fingerprint = fingerprint

    def begin(self, weights_name: str) -> Progressed | None:
        """What an export before has left in ``folder`` and noted; removes everything else there.

        Whether the file holds what was noted, its checksum will tell.
        """
        left = self._read()
        if left is not None and not _is_own_file(self._folder / weights_name):
            left = None
        kept = set() if left is None else {JOURNAL_NAME, weights_name}
        for entry in self._folder.iterdir():
            if entry.name in kept:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        return left

    def note(self, progressed: Progressed) -> None:
        """The bytes are on the disk: from here an export can go on."""
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps({"fingerprint": self._fingerprint, **asdict(progressed)}))
        partial.replace(self._path)

    def end(self) -> None:
        """All is written."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> Progressed | None:
        """What was noted, None if it is of another export or damaged."""
        try:
            if not _is_own_file(self._path) or self._path.stat().st_size > _MOST_BYTES:
                return None
            found = parse_object(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, JsonProblem):
            return None
        weights, size, digest = (found.get(name) for name in ("weights", "bytes", "sha256"))
        if (
            found.get("fingerprint") != self._fingerprint
            or type(weights) is not int
            or type(size) is not int
            or not isinstance(digest, str)
            or min(weights, size) < 0
        ):
            return None
        return Progressed(weights, size, digest)


def _is_own_file(path: Path) -> bool:
    """Whether it is a regular file that has this name alone, so that writing changes no other."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
