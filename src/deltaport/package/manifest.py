"""``manifest.json``: everything a runtime must know before it opens an engine's other files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from deltaport.errors import EngineError
from deltaport.package.plan import Plan
from deltaport.package.quantization import Quantization
from deltaport.state_layout import StateLayout
from deltaport.strict_json import JsonProblem, parse_object

__all__ = ["MANIFEST_NAME", "SCHEMA_VERSION", "FileEntry", "Manifest"]

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 4
"""Raised whenever an older runtime would misread a newer engine."""


@dataclass(frozen=True)
class FileEntry:
    """One file of the engine: path inside the folder, size in bytes, ``FileDigest`` in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of ``manifest.json``.

    ``model`` is the ``ModelSpec`` as plain JSON. The fields the runtime itself needs are repeated
    beside it, so that the runtime depends on this file alone: ``decoder`` (graph file),
    ``vocab_size``, ``max_positions`` and ``eos_token_ids``.
    ``ragged``: the rows of a step may have any number of tokens each; where it is false, a step of
    more than one token runs one row without padding, and no step runs a row without tokens.
    ``not_exported`` counts checkpoint tensors left out, by what they belong to. ``plan`` is what
    TensorRT made of the graph, where it did.
    """

    deltaport_version: str
    target: str
    ragged: bool
    dtype: str
    decoder: str
    vocab_size: int
    max_positions: int
    eos_token_ids: tuple[int, ...]
    op_library_version: int
    quantization: Quantization | None
    model: Mapping[str, Any]
    not_exported: Mapping[str, int]
    state: StateLayout
    files: tuple[FileEntry, ...]
    plan: Plan | None = None

    @property
    def longest_context(self) -> int:
        """Tokens a sequence may have: the model's, or fewer where a plan's caches hold fewer."""
        if self.plan is None:
            return self.max_positions
        return min(self.max_positions, self.plan.capacity)

    def to_json(self) -> str:
        """The file's text; equal manifests give equal bytes."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        document = (
            {"schema_version": SCHEMA_VERSION}
            | fields
            | {
                "eos_token_ids": list(self.eos_token_ids),
                "quantization": None if self.quantization is None else self.quantization.to_json(),
                "state": self.state.to_json(),
                "files": [asdict(entry) for entry in self.files],
                "plan": None if self.plan is None else self.plan.to_json(),
            }
        )
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Manifest:
        """Parse and check; ``source`` names the file in errors. The text is untrusted."""
        document = _parse(text, source)
        version = document.pop("schema_version", None)
        if type(version) is not int or version < 1:
            raise EngineError(f"{source}: schema_version is {version!r:.40}, expected an integer")
        if version > SCHEMA_VERSION:
            raise EngineError(
                f"{source}: schema version {version} is newer than {SCHEMA_VERSION}, the newest "
                "this deltaport reads; upgrade deltaport or export the engine again"
            )
        if version < SCHEMA_VERSION:
            raise EngineError(
                f"{source}: schema version {version} was written by an older deltaport, this one "
                f"reads {SCHEMA_VERSION}; export the engine again"
            )
        _check_fields(document, source)
        files = tuple(
            _file_entry(row, f"{source}: files[{i}]") for i, row in enumerate(document["files"])
        )
        listed = [entry.path for entry in files]
        if len(set(listed)) != len(listed):
            raise EngineError(f"{source}: files lists a path twice; export the engine again")
        if document["decoder"] not in listed:
            raise EngineError(f"{source}: decoder {document['decoder']!r:.80} is not among files")
        plan = None if document["plan"] is None else Plan.from_json(document["plan"], source=source)
        if plan is not None and plan.file not in listed:
            raise EngineError(f"{source}: plan {plan.file!r:.80} is not among files")
        return cls(
            **document
            | {
                "eos_token_ids": tuple(document["eos_token_ids"]),
                "quantization": _quantization(document["quantization"], source),
                "state": StateLayout.from_json(document["state"], source=source),
                "files": files,
                "plan": plan,
            }
        )


_FIELD_TYPES: dict[str, type] = {
    "deltaport_version": str,
    "target": str,
    "ragged": bool,
    "dtype": str,
    "decoder": str,
    "vocab_size": int,
    "max_positions": int,
    "eos_token_ids": list,
    "op_library_version": int,
    "quantization": dict,
    "model": dict,
    "not_exported": dict,
    "state": list,
    "files": list,
    "plan": dict,
}
_MAY_BE_NULL = {"plan", "quantization"}


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return parse_object(text)
    except JsonProblem as problem:
        raise EngineError(f"{source}: {problem}; export the engine again") from None


def _check_fields(document: Mapping[str, Any], source: str) -> None:
    for name, kind in _FIELD_TYPES.items():
        if name not in document:
            raise EngineError(f"{source}: {name} is missing; export the engine again")
        if document[name] is None and name in _MAY_BE_NULL:
            continue
        if type(document[name]) is not kind:
            raise EngineError(
                f"{source}: {name} is {document[name]!r:.60}, expected {kind.__name__}"
            )
    unknown = sorted(set(document) - set(_FIELD_TYPES))
    if unknown:
        raise EngineError(f"{source}: unknown field {unknown[0]!r:.60}; export the engine again")
    for name in ("vocab_size", "max_positions", "op_library_version"):
        if not 0 < document[name] < 2**31:
            raise EngineError(f"{source}: {name} is {document[name]}, expected a positive integer")
    for token in document["eos_token_ids"]:
        if type(token) is not int or not 0 <= token < document["vocab_size"]:
            raise EngineError(f"{source}: eos_token_ids holds {token!r:.40}, expected token ids")
    for kind, count in document["not_exported"].items():
        if type(count) is not int or count < 0:
            raise EngineError(
                f"{source}: not_exported[{kind!r:.40}] is {count!r:.40}, expected a count"
            )


def _quantization(document: object, source: str) -> Quantization | None:
    return None if document is None else Quantization.from_json(document, source=source)


def _file_entry(row: object, where: str) -> FileEntry:
    if not isinstance(row, dict) or set(row) != {"path", "size", "sha256"}:
        raise EngineError(f"{where}: expected the fields path, size, sha256")
    path, size, digest = row["path"], row["size"], row["sha256"]
    if type(path) is not str or not _is_inside(path):
        raise EngineError(
            f"{where}: path {path!r:.80} leaves the engine folder; refusing to open it"
        )
    if type(size) is not int or size < 0:
        raise EngineError(f"{where}: size is {size!r:.40}, expected bytes")
    if type(digest) is not str or not re.fullmatch("[0-9a-f]{64}", digest):
        raise EngineError(f"{where}: sha256 is {digest!r:.80}, expected 64 hexadecimal digits")
    return FileEntry(path, size, digest)


def _is_inside(path: str) -> bool:
    """Whether a path from an untrusted manifest stays in its folder on every platform."""
    pure = PurePosixPath(path)
    # Not printable: NUL and lone surrogates, for which opening a file raises ValueError.
    plain = path == str(pure) and "\\" not in path and ":" not in path and path.isprintable()
    return plain and not pure.is_absolute() and ".." not in pure.parts and pure.parts != ()
