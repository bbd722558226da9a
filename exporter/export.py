"""The whole way from a checkpoint folder to an engine folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
    TARGETS,
    TargetCapabilities,
    quantized_lowering,
    target_named,
)
from deltaport.package import Manifest
from deltaport.strict_json import quote

if TYPE_CHECKING:
    from deltaport.evaluate import EvaluateEvents
    from deltaport.exporter.tensorrt.plan_options import PlanOptions

__all__ = ["ExportEvents", "ExportPlan", "StorageDtype", "export_checkpoint", "plan_export"]

_PLAN_CODE_BYTES = 100 << 20
"""What plans are larger than their weights: 50 to 100 MB, by how many kernels there are."""


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    target: str = "portable",
    dtype: StorageDtype = "auto",
    quantize: str | None = None,
    text: str | None = None,
    passes: str | None = None,
    plan: PlanOptions | None = None,
    dump_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    accept_fields: Collection[str] = (),
    events: ExportEvents | None = None,
    read: EvaluateEvents | None = None,
) -> Manifest:
    """Compile the checkpoint folder into an engine folder and return its manifest.

    Matrices are stored as ``dtype``; norms, gates and convolution taps always as float32, which
    loses nothing and costs next to nothing. ``quantize`` names a recipe, a shipped one or a TOML
    file, that gives matrices 4 or 8 bits by their roles; what that costs is then measured on
    ``text``, and ``read`` shows how far that is. ``passes`` is a pipeline as text in place
    of the target's own, and cannot be given with it. ``plan`` has TensorRT make a plan of the
    graph, for targets that it runs. The graph after each pass goes into ``dump_dir``, a new or
    empty folder.

    Raises a ``DeltaportError`` naming what is at fault.
    """
    events, capabilities = events or ExportEvents(), target_named(target)
    recipe = _recipe(quantize, capabilities, passes, text)
    dumps = _prepared(passes, dump_dir, output)
    with _opened(
        checkpoint, output, capabilities, dtype, recipe, plan, accept_fields, events
    ) as source:
        measure = None
        if text is not None:
            from deltaport.exporter.quantization_loss import check_text, measure_loss

            check_text(source.folder, source.spec.vocab_size, text)
            measure = partial(
                measure_loss,
                source.folder,
                text=text,
                target=target,
                dtype=dtype,
                accept_fields=accept_fields,
                events=events,
                read=read,
            )
        build = None
        if plan is not None:
            from deltaport.exporter.tensorrt.write_plan import write_plan

            capacity = plan.capacity(source.spec.max_positions)
            build = partial(write_plan, options=plan, capacity=capacity, events=events)
        # Entered before anything takes long, so that what is wrong with the output is said now.
        with _place(output, overwrite) as place:
            needed = _bytes_to_write(source, plan)
            needed += source.plain_bytes if measure is not None else 0
            _check_space(place.path, place.shown, needed, place.path)
            made = planned(
                source, capabilities, events, quantize=quantize, passes=passes, dumps=dumps
            )
            if plan is not None:
                plan.check_state(made.layout, source.spec.max_positions)
            from deltaport.exporter.write_package import write_package
            from deltaport.exporter.write_weights import weight_bytes

            events.stage("writing weights")
            events.weights(weight_bytes(made.model))
            return write_package(
                place,
                made.model,
                spec=source.spec,
                eos_token_ids=source.eos_token_ids,
                layout=made.layout,
                target=capabilities,
                dtype=source.matrix_dtype,
                quantization=made.quantization,
                not_exported=source.not_exported,
                checkpoint=source.folder,
                source=source.weights,
                shards=source.weights.paths,
                progress=events.wrote,
                measure=measure,
                build=None if build is None else partial(build, layout=made.layout),
            )


def plan_export(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    target: str = "portable",
    dtype: StorageDtype = "auto",
    quantize: str | None = None,
    passes: str | None = None,
    plan: PlanOptions | None = None,
    dump_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    accept_fields: Collection[str] = (),
    events: ExportEvents | None = None,
) -> ExportPlan:
    """All of :func:`export_checkpoint` but the writing: but for dumps, nothing on the disk changes.

    With an ``output``, also checks that it is not the checkpoint, that what is there already may be
    replaced, and that the disk has room. Raises a ``DeltaportError`` naming what is at fault.
    """
    events, capabilities = events or ExportEvents(), target_named(target)
    recipe = _recipe(quantize, capabilities, passes)
    dumps = _prepared(passes, dump_dir, output)
    with _opened(
        checkpoint, output, capabilities, dtype, recipe, plan, accept_fields, events
    ) as source:
        if output is not None:
            place = _place(output, overwrite)
            place.check_target()
            real = Path(os.path.realpath(output))
            there = next(path for path in (real, *real.parents) if os.path.lexists(path))
            _check_space(there, os.fspath(output), _bytes_to_write(source, plan), place.path)
        made = planned(source, capabilities, events, quantize=quantize, passes=passes, dumps=dumps)
        if plan is not None:
            plan.check_state(made.layout, source.spec.max_positions)
        return made


@contextmanager
def _opened(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    target: TargetCapabilities,
    dtype: StorageDtype,
    recipe: QuantizationRecipe | None,
    plan: PlanOptions | None,
    accept_fields: Collection[str],
    events: ExportEvents,
) -> Iterator[CheckedCheckpoint]:
    """The checkpoint, when all that can be known now of its plan and the output is in order."""
    if plan is not None:
        _check_plan(plan, target, recipe, events)
    events.stage("reading the checkpoint")
    with checked(
        Path(checkpoint), dtype=dtype, accept_fields=accept_fields, recipe=recipe
    ) as source:
        if plan is not None:
            plan.capacity(source.spec.max_positions)
        if output is not None:
            refuse_to_replace_input(output, source.folder)
        yield source


def _bytes_to_write(source: CheckedCheckpoint, plan: PlanOptions | None) -> int:
    """A plan holds the weights once more, and code besides."""
    return source.stored_bytes if plan is None else 2 * source.stored_bytes + _PLAN_CODE_BYTES


def _recipe(
    quantize: str | None, target: TargetCapabilities, passes: str | None, text: str | None = None
) -> QuantizationRecipe | None:
    """The recipe to go by, having found what is wrong with it before any work is done."""
    if quantize is None:
        if text is not None:
            raise InputError("--text measures what --quantize costs; give a recipe, too")
        return None
    if passes is not None:
        raise InputError(
            "--quantize and --passes: give one of them; among passes, choose-formats names a recipe"
        )
    quantized_lowering(target)
    recipe = quantization_recipe(quantize)
    of_plugins = ("experts", "shared_expert") if target.kernels else ()
    offsets = [role for role, stored in recipe.formats.items() if stored.asymmetric]
    offsets = [role for role in offsets if role not in of_plugins]
    if offsets and target.dequantizes:
        raise InputError(
            f"--quantize {quantize}: role {offsets[0]} is {recipe.formats[offsets[0]]}, and target "
            f"{target.name} dequantizes without offsets; choose formats that are not asymmetric"
        )
    floating = [role for role, stored in recipe.formats.items() if stored.floating]
    if floating and not target.dequantizes:
        able = " or ".join(row.name for row in TARGETS.values() if row.dequantizes)
        raise InputError(
            f"--quantize {quantize}: role {floating[0]} is {recipe.formats[floating[0]]}, which "
            f"target {target.name} cannot read; choose int8 or int4, or --target {able}"
        )
    floating = [role for role in floating if role in of_plugins]
    if floating:
        raise InputError(
            f"--quantize {quantize}: role {floating[0]} is {recipe.formats[floating[0]]}, which "
            f"the plugins of target {target.name} do not read; choose int8 or int4 for it"
        )
    return recipe


def _check_plan(
    plan: PlanOptions,
    target: TargetCapabilities,
    recipe: QuantizationRecipe | None,
    events: ExportEvents,
) -> None:
    """Raise ``InputError`` where no plan can be made, before any work is done."""
    if not target.plan:
        able = ", ".join(row.name for row in TARGETS.values() if row.plan)
        raise InputError(f"target {target.name} takes no plan; choose one of {able}")
    if target.kernels and plan.plugins is None:
        raise InputError(
            f"target {target.name} runs our plugins: name libdeltaport_tensorrt.so with --plugins, "
            "or choose tensorrt-plain"
        )
    from deltaport.exporter.tensorrt.build_process import check_apart

    events.stage("looking for TensorRT")
    formats = () if recipe is None else recipe.formats.values()
    check_apart(plan, fp8=any(stored.floating for stored in formats))


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


def _check_space(there: Path, shown: str, needed: int, place: Path) -> None:
    """Refuse an output on the disk of ``there`` without room for ``needed`` bytes of weights.

    What an export that was killed left at ``place`` will be gone on with or removed.
    """
    free = shutil.disk_usage(there).free
    with suppress(OSError):  # what cannot be looked at cannot be counted on
        free += sum(entry.lstat().st_blocks * 512 for entry in place.iterdir())
    if needed > free:
        raise OutputError(
            f"{shown}: the engine needs {needed / 1e9:.2f} GB, the disk has "
            f"{free / 1e9:.2f} GB free; free some space or choose another output"
        )
