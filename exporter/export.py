"""The whole way from a checkpoint folder to an engine folder."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ml_dtypes import bfloat16

from deltaport.errors import OutputError
from deltaport.exporter.atomic_folder import AtomicFolder
from deltaport.exporter.checkpoint import Checkpoint
from deltaport.exporter.copied_files import copied_files
from deltaport.exporter.generation_config import eos_token_ids
from deltaport.exporter.model_size import WEIGHT_ALIGNMENT, parameter_shapes, stored_as_float32
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.replaceable import objection_to_replacing
from deltaport.exporter.weight_names import bind
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.target_capabilities import target_named
from deltaport.package import Manifest
from deltaport.strict_json import quote

__all__ = ["ExportEvents", "StorageDtype", "export_checkpoint"]

StorageDtype = Literal["auto", "float32", "bfloat16", "float16"]
"""How matrices are stored; ``auto`` keeps what the checkpoint stores."""

_NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(bfloat16),
}


@dataclass(frozen=True)
class ExportEvents:
    """Hooks for whoever shows progress: stages by name, then weight bytes as they are written."""

    stage: Callable[[str], None] = lambda _: None
    weights: Callable[[int], None] = lambda _: None
    wrote: Callable[[int], None] = lambda _: None


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    target: str = "portable",
    dtype: StorageDtype = "auto",
    overwrite: bool = False,
    accept_fields: Collection[str] = (),
    events: ExportEvents | None = None,
) -> Manifest:
    """Compile the checkpoint folder into an engine folder and return its manifest.

    Matrices are stored as ``dtype``; norms, gates and convolution taps always as float32, which
    loses nothing and costs next to nothing. Raises a ``DeltaportError`` naming what is at fault.
    """
    events = events or ExportEvents()
    capabilities = target_named(target)
    folder = Path(checkpoint)
    events.stage("reading the checkpoint")
    spec = ModelSpec.from_checkpoint(folder, accept_fields=accept_fields)
    end_tokens = eos_token_ids(folder, spec)
    copied_files(folder)  # for what is wrong with them, before any work is done
    with Checkpoint.open(folder) as weights:
        binding = bind(parameter_shapes(spec), weights, tied=spec.tie_word_embeddings)
        storage = {name: _storage(name, recipe, dtype) for name, recipe in binding.recipes.items()}
        refuse_to_replace_input(output, folder)
        objection = objection_to_replacing if overwrite else None
        # Entered before anything takes long, so that what is wrong with the output is said now.
        with AtomicFolder(output, objection=objection) as place:
            _check_space(place, storage, binding.recipes)
            events.stage("tracing the model")
            # Only now: torch and onnx take seconds to import, and what is wrong with a checkpoint
            # should be said at once.
            import torch

            from deltaport.exporter.bind_weights import bind_weights
            from deltaport.exporter.trace import trace
            from deltaport.exporter.write_package import weight_bytes, write_package
            from deltaport.graph_passes.pipeline import default_pipeline

            model, layout = trace(spec, lambda name: getattr(torch, storage[name].name))
            bind_weights(model.graph, binding.recipes)
            events.stage("running passes")
            model = default_pipeline(layout, capabilities)(model).model
            events.stage("writing weights")
            events.weights(weight_bytes(model))
            return write_package(
                place,
                model,
                spec=spec,
                eos_token_ids=end_tokens,
                layout=layout,
                target=capabilities,
                dtype=_name_of_matrix_dtypes(storage, binding.recipes),
                not_exported={kind: len(names) for kind, names in binding.not_exported.items()},
                checkpoint=folder,
                source=weights,
                progress=events.wrote,
            )


def refuse_to_replace_input(output: str | os.PathLike[str], checkpoint: Path) -> None:
    """Raise ``OutputError`` if ``output`` is or holds the checkpoint or a file it links to.

    Compares the folders themselves, so neither links nor the spelling of a path matter.
    """
    try:
        there = os.stat(output or os.curdir)  # noqa: PTH116 Path("") is not ""
    except OSError:
        return  # nothing to replace, or for AtomicFolder to report
    files = (path for path in checkpoint.iterdir() if not path.is_dir())
    for path in (checkpoint, *files):
        real = Path(os.path.realpath(path))
        for place in (real, *real.parents):
            with suppress(OSError):
                if os.path.samestat(there, place.stat()):
                    raise OutputError(
                        f"{os.fspath(output) or quote('')}: holds {path}, which the export reads; "
                        "choose another output"
                    )


def _check_space(
    place: AtomicFolder, storage: Mapping[str, np.dtype[Any]], recipes: Mapping[str, Recipe]
) -> None:
    sizes = (math.prod(recipes[name].shape) * dtype.itemsize for name, dtype in storage.items())
    needed = sum(size + -size % WEIGHT_ALIGNMENT for size in sizes)
    free = shutil.disk_usage(place.path).free
    if needed > free:
        raise OutputError(
            f"{place.shown}: the engine needs {needed / 1e9:.2f} GB, the disk has "
            f"{free / 1e9:.2f} GB free; free some space or choose another output"
        )


def _storage(name: str, recipe: Recipe, dtype: StorageDtype) -> np.dtype[Any]:
    if stored_as_float32(name, recipe.shape):
        return np.dtype(np.float32)
    return recipe.dtype if dtype == "auto" else _NUMPY_DTYPES[dtype]


def _name_of_matrix_dtypes(
    storage: Mapping[str, np.dtype[Any]], recipes: Mapping[str, Recipe]
) -> str:
    """``bfloat16``, or ``bfloat16+float32`` if the matrices of a checkpoint differ."""
    matrices = {
        dtype.name
        for name, dtype in storage.items()
        if not stored_as_float32(name, recipes[name].shape)
    }
    return "+".join(sorted(matrices))
