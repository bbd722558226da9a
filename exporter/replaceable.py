"""Whether a folder is an engine and nothing but: only that may be replaced."""

from __future__ import annotations

import os
from pathlib import Path

from deltaport.package import MANIFEST_NAME
from deltaport.package.open_package import MANIFEST_LIMIT
from deltaport.strict_json import JsonProblem, parse_object, quote

__all__ = ["objection_to_replacing"]


def objection_to_replacing(folder: Path) -> str | None:
    """What speaks against removing ``folder`` to make place for an engine; None for an engine.

    Other programs write a ``manifest.json`` too, so it must be one of ours, of whatever version,
    and list all else in the folder. Whether the files are whole does not matter.
    """
    listed = _listed_files(folder / MANIFEST_NAME)
    if listed is None:
        return f"is not an engine folder: it holds no {MANIFEST_NAME} of an engine"
    known = listed | {MANIFEST_NAME}
    folders = {str(parent) for path in known for parent in Path(path).parents}
    for root, below, files in os.walk(folder, onerror=_raise):
        inside = Path(root).relative_to(folder)
        for name in sorted(files):
            if str(inside / name) not in known:
                return f"holds {quote(str(inside / name))}, which is no part of the engine"
        for name in sorted(below):
            path = str(inside / name)
            if path not in folders and not (path in known and (folder / path).is_symlink()):
                return f"holds {quote(path)}, which is no part of the engine"
    return None


def _listed_files(manifest: Path) -> set[str] | None:
    """The files a manifest of any version lists, or None if it is not an engine's."""
    if not manifest.is_file() or manifest.stat().st_size > MANIFEST_LIMIT:
        return None
    try:
        document = parse_object(manifest.read_bytes())
    except JsonProblem:
        return None
    files = document.get("files")
    if (
        type(document.get("schema_version")) is not int
        or type(document.get("deltaport_version")) is not str
        or not isinstance(files, list)
        or not all(isinstance(row, dict) and type(row.get("path")) is str for row in files)
    ):
        return None
    paths = {row["path"] for row in files}
    return paths if document.get("decoder") in list(paths) else None


def _raise(error: OSError) -> None:
    raise error
