"""What ``deltaport inspect`` finds out, as plain JSON types: printed as tables or as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from deltaport.errors import InputError
from deltaport.exporter.model_size import packed_bytes, parameter_shapes
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.state_layout_of_spec import state_layout_of_spec
from deltaport.graph_passes.target_capabilities import reads_as_stored
from deltaport.package import MANIFEST_NAME, Manifest, Quantization, open_package
from deltaport.state_layout import StateLayout

from .graph_facts import GraphFacts, facts_of_engine, facts_of_plan
from .layer_facts import layer_facts
from .memory_facts import Demand, Room
from .model_facts import Facts, model_facts
from .paths import check_inspected

if TYPE_CHECKING:
    from deltaport.exporter.export import ExportPlan
    from deltaport.exporter.tensorrt.plan_options import PlanOptions

__all__ = ["facts_of_export", "gather"]

_CONFIG_NAME = "config.json"
_ASSUMED_DTYPE = "bfloat16"


def gather(
    path: Path,
    *,
    accept_fields: Collection[str] = (),
    demand: Demand | None = None,
    layers: bool = False,
) -> Facts:
    """Inspect a checkpoint folder, a ``config.json``, or an engine folder.

    ``kind`` of the result is ``checkpoint``, ``config`` or ``engine``; ``demand`` is what its
    ``memory`` is about; ``layers``, whether every layer of a plan is wanted. Raises a
    ``DeltaportError`` if it is none of these or damaged.
    """
    try:
        return _gather(path, accept_fields, demand or Demand(), layers)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _gather(path: Path, accept_fields: Collection[str], demand: Demand, layers: bool) -> Facts:
    check_inspected(path)
    folder = path.parent if path.is_file() and path.name == MANIFEST_NAME else path
    if (folder / MANIFEST_NAME).is_file():
        return _engine_facts(folder, demand, layers)
    if layers:
        raise InputError(f"--layers: {path} is no engine, so it has no layers of a plan")
    if path.is_dir() and not (path / _CONFIG_NAME).exists():
        raise InputError(
            f"{path}: neither a checkpoint nor an engine, as it has no {_CONFIG_NAME} and no "
            f"{MANIFEST_NAME}; check the path"
        )
    spec = ModelSpec.from_checkpoint(path, accept_fields=accept_fields)
    if path.is_dir() and any(path.glob("*.safetensors*")):
        return _checkpoint_facts(path, spec, demand)
    note = f"no weights here: sizes are those of {_ASSUMED_DTYPE}"
    return _assumed_facts("config", path, spec, demand) | {"notes": [note]}


def _folder_bytes(folder: Path, manifest: Manifest) -> int:
    """Bytes of an engine folder, the manifest included."""
    own = (folder / MANIFEST_NAME).stat().st_size
    return own + sum(entry.size for entry in manifest.files)


def _assumed_facts(kind: str, path: Path, spec: ModelSpec, demand: Demand) -> Facts:
    dtypes = dict.fromkeys(parameter_shapes(spec), _ASSUMED_DTYPE)
    return model_facts(kind, path, spec, dtypes, state_layout_of_spec(spec), demand)


def _checkpoint_facts(folder: Path, spec: ModelSpec, demand: Demand) -> Facts:
    if find_spec("ml_dtypes") is None:
        note = (
            f"weights not read, which needs deltaport[export]: sizes are those of {_ASSUMED_DTYPE}"
        )
        return _assumed_facts("checkpoint", folder, spec, demand) | {"notes": [note]}
    from deltaport.exporter.checkpoint import Checkpoint
    from deltaport.exporter.weight_names import bind

    with Checkpoint.open(folder) as weights:
        binding = bind(parameter_shapes(spec), weights, tied=spec.tie_word_embeddings)
        total = weights.total_bytes
    dtypes = {name: recipe.dtype.name for name, recipe in binding.recipes.items()}
    layout = state_layout_of_spec(spec)
    return model_facts("checkpoint", folder, spec, dtypes, layout, demand) | {
        "checkpoint": {
            "dtypes": sorted(set(dtypes.values())),
            "bytes": total,
            "not_exported": {kind: len(names) for kind, names in binding.not_exported.items()},
        }
    }


def _engine_facts(folder: Path, demand: Demand, layers: bool) -> Facts:
    manifest = open_package(folder, checksums=False)
    spec = ModelSpec.from_json(manifest.model, source=str(folder / MANIFEST_NAME))
    graph, plan = facts_of_engine(folder, manifest, spec), manifest.plan
    found = model_facts(
        "engine",
        folder,
        spec,
        graph.dtypes,
        manifest.state,
        demand,
        as_stored=reads_as_stored(manifest.target),
        room=None if plan is None else Room(plan.slots, plan.capacity),
    )
    return _with_sizes_as_stored(found, manifest.quantization) | {
        "notes": list(graph.notes),
        "engine": {
            "deltaport_version": manifest.deltaport_version,
            "target": manifest.target,
            "dtype": manifest.dtype,
            "bytes": _folder_bytes(folder, manifest),
            "files": [{"path": entry.path, "bytes": entry.size} for entry in manifest.files],
            "plan": None if plan is None else plan.to_json(),
            "plan_layers": layer_facts(folder, manifest, every=layers),
            **_shared_engine_facts(
                manifest.state, graph, manifest.not_exported, manifest.quantization
            ),
        },
    }


def facts_of_export(plan: ExportPlan, path: Path, built: PlanOptions | None = None) -> Facts:
    """What :func:`gather` will find once the plan has been carried out at ``path``.

    But for files whose sizes are known only when they are written: the graph's, which is small
    beside its weights, the manifest's, and that of the plan that TensorRT will have ``built``.
    """
    from deltaport import __version__
    from deltaport.exporter.copied_files import copied_files
    from deltaport.exporter.write_package import DECODER_NAME
    from deltaport.exporter.write_weights import WEIGHTS_NAME

    checkpoint, graph = plan.checkpoint, facts_of_plan(plan)
    sizes = {found.name: found.stat().st_size for found in copied_files(checkpoint.folder)}
    sizes[WEIGHTS_NAME] = packed_bytes(plan.weight_sizes)
    kind, unknown, room = "engine (dry run)", f"{DECODER_NAME} and {MANIFEST_NAME}", None
    if built is not None:
        unknown = f"{DECODER_NAME}, {MANIFEST_NAME} and the plan"
        room = Room(built.slots, built.capacity(checkpoint.spec.max_positions))
    found = model_facts(
        kind,
        path,
        checkpoint.spec,
        graph.dtypes,
        plan.layout,
        Demand(),
        as_stored=not plan.target.widens,
        room=room,
    )
    return _with_sizes_as_stored(found, plan.quantization) | {
        "notes": [f"sizes are without {unknown}"],
        "engine": {
            "deltaport_version": __version__,
            "target": plan.target.name,
            "dtype": checkpoint.matrix_dtype,
            "bytes": sum(sizes.values()),
            "files": [{"path": name, "bytes": sizes[name]} for name in sorted(sizes)],
            "plan": None,
            "plan_layers": None,
            **_shared_engine_facts(plan.layout, graph, checkpoint.not_exported, plan.quantization),
        },
    }


def _with_sizes_as_stored(facts: Facts, quantization: Quantization | None) -> Facts:
    """What quantized weights take as they are joined and padded, which no shape alone tells."""
    roles = {} if quantization is None else quantization.roles
    for row in facts["roles"]:
        stored = roles.get(row["role"])
        if stored is not None and row["dtype"] == str(stored.format):
            row["bytes"] = stored.bytes
    return facts


def _shared_engine_facts(
    layout: StateLayout,
    graph: GraphFacts,
    not_exported: Mapping[str, int],
    quantization: Quantization | None,
) -> Facts:
    return {
        "quantization": None if quantization is None else quantization.to_json(),
        "ops": graph.ops_json(),
        "state": _state_facts(layout),
        "not_exported": dict(not_exported),
    }


def _state_facts(layout: StateLayout) -> list[Facts]:
    """State tensors that differ only by their layer, as one row."""
    counts: dict[tuple[str, tuple[int | str, ...], str], int] = {}
    for tensor in layout:
        row = (tensor.kind, tensor.shape, tensor.update)
        counts[row] = counts.get(row, 0) + 1
    return [
        {"kind": kind, "tensors": count, "shape": list(shape), "update": update}
        for (kind, shape, update), count in counts.items()
    ]
