"""What ``deltaport inspect`` finds out, as plain JSON types: printed as tables or as they are."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deltaport.errors import InputError
from deltaport.exporter.model_size import (
    active_parameter_count,
    parameter_count,
    parameter_shapes,
    role_of,
    state_bytes_per_sequence,
    state_bytes_per_token,
    stored_as_float32,
)
from deltaport.exporter.model_spec import ModelSpec
from deltaport.package import MANIFEST_NAME, Manifest, open_package
from deltaport.strict_json import one_line

from .paths import check_inspected

__all__ = ["Facts", "folder_bytes", "gather", "model_of"]

Facts = dict[str, Any]

_CONFIG_NAME = "config.json"
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def gather(path: Path, *, accept_fields: Collection[str] = ()) -> Facts:
    """Inspect a checkpoint folder, a ``config.json``, or an engine folder.

    ``kind`` of the result is ``checkpoint``, ``config`` or ``engine``. Raises a ``DeltaportError``
    if it is none of these or damaged.
    """
    try:
        return _gather(path, accept_fields)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _gather(path: Path, accept_fields: Collection[str]) -> Facts:
    check_inspected(path)
    folder = path.parent if path.is_file() and path.name == MANIFEST_NAME else path
    if (folder / MANIFEST_NAME).is_file():
        return _engine_facts(folder)
    if path.is_dir() and not (path / _CONFIG_NAME).exists():
        raise InputError(
            f"{path}: neither a checkpoint nor an engine, as it has no {_CONFIG_NAME} and no "
            f"{MANIFEST_NAME}; check the path"
        )
    spec = ModelSpec.from_checkpoint(path, accept_fields=accept_fields)
    if path.is_dir() and any(path.glob("*.safetensors*")):
        return _checkpoint_facts(path, spec)
    note = "no weights here: sizes are those of bfloat16"
    sizes = _assumed_sizes(spec, "bfloat16")
    return _model_facts("config", path, spec, sizes) | {"notes": [note]}


def model_of(facts: Facts) -> ModelSpec:
    """The specification the facts are about."""
    return ModelSpec.from_json(facts["model"], source=facts["path"])


def folder_bytes(folder: Path, manifest: Manifest) -> int:
    """Bytes of an engine folder, the manifest included."""
    own = (folder / MANIFEST_NAME).stat().st_size
    return own + sum(entry.size for entry in manifest.files)


def _model_facts(kind: str, path: Path, spec: ModelSpec, sizes: Mapping[str, int]) -> Facts:
    return {
        "kind": kind,
        "path": str(path),
        "model": spec.to_json(),
        "layers": {
            kind: len(spec.layers_of(kind)) for kind in ("linear_attention", "full_attention")
        },
        "parameters": {"total": parameter_count(spec), "active": active_parameter_count(spec)},
        "state": {
            "bytes_per_sequence": state_bytes_per_sequence(spec),
            "bytes_per_token": state_bytes_per_token(spec),
        },
        "max_positions": spec.max_positions,
        "roles": _role_facts(spec, sizes),
        "notes": [],
    }


def _role_facts(spec: ModelSpec, sizes: Mapping[str, int]) -> list[Facts]:
    """Parameters and bytes by role, the largest first."""
    roles: dict[str, Facts] = {}
    for name, shape in parameter_shapes(spec).items():
        role = role_of(name)
        row = roles.setdefault(role, {"role": role, "tensors": 0, "parameters": 0, "bytes": 0})
        row["tensors"] += 1
        row["parameters"] += math.prod(shape)
        row["bytes"] += sizes[name]
    return sorted(roles.values(), key=lambda row: -row["parameters"])


def _assumed_sizes(spec: ModelSpec, dtype: str) -> dict[str, int]:
    return {
        name: math.prod(shape) * _ITEM_BYTES[dtype]
        for name, shape in parameter_shapes(spec).items()
    }


def _checkpoint_facts(folder: Path, spec: ModelSpec) -> Facts:
    if find_spec("ml_dtypes") is None:
        note = "weights not read, which needs deltaport[export]: sizes are those of bfloat16"
        sizes = _assumed_sizes(spec, "bfloat16")
        return _model_facts("checkpoint", folder, spec, sizes) | {"notes": [note]}
    from deltaport.exporter.checkpoint import Checkpoint
    from deltaport.exporter.weight_names import bind

    with Checkpoint.open(folder) as weights:
        binding = bind(parameter_shapes(spec), weights, tied=spec.tie_word_embeddings)
        total = weights.total_bytes
    sizes, dtypes = {}, set()
    for name, recipe in binding.recipes.items():
        sizes[name] = math.prod(recipe.shape) * recipe.dtype.itemsize
        dtypes.add(recipe.dtype.name)
    return _model_facts("checkpoint", folder, spec, sizes) | {
        "checkpoint": {
            "dtypes": sorted(dtypes),
            "bytes": total,
            "not_exported": {kind: len(names) for kind, names in binding.not_exported.items()},
        }
    }


def _engine_facts(folder: Path) -> Facts:
    manifest = open_package(folder, checksums=False)
    spec = ModelSpec.from_json(manifest.model, source=str(folder / MANIFEST_NAME))
    notes = []
    dtype = manifest.dtype
    if dtype not in _ITEM_BYTES:
        notes.append(f"matrices are stored as {one_line(dtype[:60])}: sizes are those of bfloat16")
        dtype = "bfloat16"
    sizes = {
        name: math.prod(shape) * (4 if stored_as_float32(name, shape) else _ITEM_BYTES[dtype])
        for name, shape in parameter_shapes(spec).items()
    }
    return _model_facts("engine", folder, spec, sizes) | {
        "notes": notes,
        "engine": {
            "deltaport_version": manifest.deltaport_version,
            "target": manifest.target,
            "dtype": manifest.dtype,
            "bytes": folder_bytes(folder, manifest),
            "files": [{"path": entry.path, "bytes": entry.size} for entry in manifest.files],
            "state": _state_facts(manifest),
            "not_exported": dict(manifest.not_exported),
        },
    }


def _state_facts(manifest: Manifest) -> list[Facts]:
    """State tensors that differ only by their layer, as one row."""
    counts: dict[tuple[str, tuple[int | str, ...], str], int] = {}
    for tensor in manifest.state:
        row = (tensor.kind, tensor.shape, tensor.update)
        counts[row] = counts.get(row, 0) + 1
    return [
        {"kind": kind, "tensors": count, "shape": list(shape), "update": update}
        for (kind, shape, update), count in counts.items()
    ]
