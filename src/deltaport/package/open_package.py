"""Open an engine folder: read its manifest and check its files."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from deltaport.errors import EngineError

from .file_digest import file_digest
from .manifest import MANIFEST_NAME, FileEntry, Manifest

__all__ = ["engine_identity", "open_package"]

MANIFEST_LIMIT = 64 << 20
"""Bytes a manifest may have: far above any real one, far below what would hurt to parse."""


def open_package(folder: str | os.PathLike[str], *, checksums: bool = True) -> Manifest:
    """Read and check the engine in ``folder``.

    Every listed file must be there with its size; with ``checksums`` its SHA-256 must match too,
    which reads all of it once, by all cores. Raises ``EngineError`` naming the file at fault.
    """
    root = Path(folder)
    path = root / MANIFEST_NAME
    try:
        if not root.is_dir():
            raise EngineError(f"{root}: no such engine folder; make one with: deltaport export")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise EngineError(f"{path}: not a regular file; export the engine again")
        if status.st_size > MANIFEST_LIMIT:
            raise EngineError(f"{path}: larger than {MANIFEST_LIMIT >> 20} MiB, not a manifest")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EngineError(
            f"{root}: has no {MANIFEST_NAME}, so it is not an engine; make one with: "
            "deltaport export"
        ) from None
    except UnicodeDecodeError:
        raise EngineError(f"{path}: not UTF-8 text; export the engine again") from None
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}") from None
    manifest = Manifest.from_json(text, source=str(path))
    for entry in manifest.files:
        _check_file(root, entry)
    if checksums:
        for entry in manifest.files:
            _check_digest(root / entry.path, entry)
    return manifest


def engine_identity(folder: Path) -> str:
    """SHA-256 of the manifest's file in hex: equal for engines of the same files."""
    return hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()


def _check_file(root: Path, entry: FileEntry) -> None:
    path = root / entry.path
    # Path.resolve raises RuntimeError for a link to itself, before Python 3.13.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise EngineError(f"{path}: a link that leaves the engine folder; refusing to open it")
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise EngineError(f"{path}: not a regular file; export the engine again")
        if size != entry.size:
            raise EngineError(
                f"{path}: has {size} bytes, the manifest says {entry.size}; the engine was cut "
                "short or altered, export it again"
            )
    except FileNotFoundError:
        raise EngineError(
            f"{path}: missing from the engine; copy the whole folder or export it again"
        ) from None
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}") from None


def _check_digest(path: Path, entry: FileEntry) -> None:
    try:
        digest = file_digest(path)
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}") from None
    if digest != entry.sha256:
        raise EngineError(
            f"{path}: checksum differs from the manifest's; the file was altered, export the "
            "engine again"
        )
