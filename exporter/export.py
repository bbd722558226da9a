"""The whole way from a checkpoint folder to an engine folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from deltaport.errors import InputError, OutputError
from deltaport.exporter.atomic_folder import AtomicFolder
from deltaport.exporter.dump_folder import DumpFolder
from deltaport.exporter.export_plan import (
    CheckedCheckpoint,
    ExportEvents,
    ExportPlan,
    StorageDtype,
    checked,
    planned,
)
from deltaport.exporter.replaceable import objection_to_replacing
from deltaport.exporter.write_journal import JOURNAL_NAME
from deltaport.graph_passes.quantize.quantization_recipe import (
    QuantizationRecipe,
    quantization_recipe,
)
from deltaport.graph_passes.target_capabilities import (
    TargetCapabilities,
    quantized_lowering,
    target_named,
)
from deltaport.package import Manifest
from deltaport.strict_json import quote

__all__ = ["ExportEvents", "ExportPlan", "StorageDtype", "export_checkpoint", "plan_export"]


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    target: str = "portable",
    dtype: StorageDtype = "auto",
    quantize: str | None = None,
    passes: str | None = None,
    dump_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    accept_fields: Collection[str] = (),
    events: ExportEvents | None = None,
) -> Manifest:
    """Compile the checkpoint folder into an engine folder and return its manifest.

    Matrices are stored as ``dtype``; norms, gates and convolution taps always as float32, which
    loses nothing and costs next to nothing. ``quantize`` names a recipe, a shipped one or a TOML
    file, that gives matrices 4 or 8 bits by their roles. ``passes`` is a pipeline as text in place
    of the target's own, and cannot be given with it. The graph after each pass goes into
    ``dump_dir``, a new or empty folder.

    Raises a ``DeltaportError`` naming what is at fault.
    """
    events = events or ExportEvents()
    capabilities = target_named(target)
    recipe = _recipe(quantize, capabilities, passes)
    dumps = _prepared(passes, dump_dir, output)
    events.stage("reading the checkpoint")
    with checked(
        Path(checkpoint), dtype=dtype, accept_fields=accept_fields, recipe=recipe
    ) as source:
        refuse_to_replace_input(output, source.folder)
        # Entered before anything takes long, so that what is wrong with the output is said now.
        with _place(output, overwrite) as place:
            _check_space(place.path, place.shown, source)
            plan = planned(
                source, capabilities, events, quantize=quantize, passes=passes, dumps=dumps
            )
            from deltaport.exporter.write_package import write_package
            from deltaport.exporter.write_weights import weight_bytes

            events.stage("writing weights")
            events.weights(weight_bytes(plan.model))
            return write_package(
                place,
                plan.model,
                spec=source.spec,
                eos_token_ids=source.eos_token_ids,
                layout=plan.layout,
                target=capabilities,
                dtype=source.matrix_dtype,
                quantization=plan.quantization,
                not_exported=source.not_exported,
                checkpoint=source.folder,
                source=source.weights,
                progress=events.wrote,
            )


def plan_export(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    target: str = "portable",
    dtype: StorageDtype = "auto",
    quantize: str | None = None,
    passes: str | None = None,
    dump_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    accept_fields: Collection[str] = (),
    events: ExportEvents | None = None,
) -> ExportPlan:
    """All of :func:`export_checkpoint` but the writing: but for dumps, nothing on the disk changes.

    With an ``output``, also checks that it is not the checkpoint, that what is there already may be
    replaced, and that the disk has room. Raises a ``DeltaportError`` naming what is at fault.
    """
    events = events or ExportEvents()
    capabilities = target_named(target)
    recipe = _recipe(quantize, capabilities, passes)
    dumps = _prepared(passes, dump_dir, output)
    events.stage("reading the checkpoint")
    with checked(
        Path(checkpoint), dtype=dtype, accept_fields=accept_fields, recipe=recipe
    ) as source:
        if output is not None:
            refuse_to_replace_input(output, source.folder)
            _place(output, overwrite).check_target()
            real = Path(os.path.realpath(output))
            there = next(path for path in (real, *real.parents) if os.path.lexists(path))
            _check_space(there, os.fspath(output), source)
        return planned(source, capabilities, events, quantize=quantize, passes=passes, dumps=dumps)


def _recipe(
    quantize: str | None, target: TargetCapabilities, passes: str | None
) -> QuantizationRecipe | None:
    """The recipe to go by, having found what is wrong with it before any work is done."""
    if quantize is None:
        return None
    if passes is not None:
        raise InputError(
            "--quantize and --passes: give one of them; among passes, choose-formats names a recipe"
        )
    recipe = quantization_recipe(quantize)
    quantized_lowering(target)
    return recipe


def _prepared(
    passes: str | None,
    dump_dir: str | os.PathLike[str] | None,
    output: str | os.PathLike[str] | None,
) -> DumpFolder | None:
    """Where dumps go, having found what is wrong with both options before any work is done."""
    if passes is not None:
        from deltaport.graph_passes.pipeline import parse_pipeline

        parse_pipeline(passes)
    if dump_dir is None:
        return None
    if output is not None:
        engine = Path(os.path.realpath(output))
        inside = Path(os.path.realpath(dump_dir))
        if engine in (inside, *inside.parents):
            raise OutputError(
                f"{os.fspath(dump_dir)}: lies in the engine's own folder; choose another --dump-dir"
            )
    return DumpFolder(Path(dump_dir))


def _place(output: str | os.PathLike[str], overwrite: bool) -> AtomicFolder:
    objection = objection_to_replacing if overwrite else None
    return AtomicFolder(output, objection=objection, resumable=JOURNAL_NAME)


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


def _check_space(place: Path, shown: str, source: CheckedCheckpoint) -> None:
    """Refuse an output on a disk without room for the weights; ``place`` is where they will go.

    What an export that was killed left there will be gone on with or removed.
    """
    needed, free = source.stored_bytes, shutil.disk_usage(place).free
    with suppress(OSError):  # what cannot be looked at cannot be counted on
        if (place / JOURNAL_NAME).exists():
            free += sum(entry.stat().st_blocks * 512 for entry in place.iterdir())
    if needed > free:
        raise OutputError(
            f"{shown}: the engine needs {needed / 1e9:.2f} GB, the disk has "
            f"{free / 1e9:.2f} GB free; free some space or choose another output"
        )
