"""What a decoder graph says about itself: its ops, and how its weights are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaport.exporter.model_size import parameter_shapes, stored_as_float32
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.weight_memory import ITEM_BYTES
from deltaport.package import Manifest
from deltaport.strict_json import one_line
from deltaport.weight_roles import role_of

if TYPE_CHECKING:
    from deltaport.exporter.export import ExportPlan

__all__ = ["GraphFacts", "facts_of_engine", "facts_of_plan"]

_ONNX_DTYPES = {1: "float32", 10: "float16", 16: "bfloat16"}
"""ONNX's numbers for the dtypes weights are stored in."""


@dataclass(frozen=True)
class GraphFacts:
    """``ops`` counts the nodes of the graph itself, by (domain, op); None where it was not read.

    ``dtypes`` says how every parameter is stored: its dtype, or its format of few bits. ``notes``
    are for the user.
    """

    ops: Mapping[tuple[str, str], int] | None
    dtypes: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def ops_json(self) -> list[dict[str, Any]] | None:
        """Rows for other programs: our ops first, then the most frequent ones."""
        if self.ops is None:
            return None
        rows = sorted(self.ops.items(), key=lambda row: (row[0][0] == "", -row[1], row[0]))
        return [{"domain": domain, "op": op, "nodes": n} for (domain, op), n in rows]


def facts_of_engine(folder: Path, manifest: Manifest, spec: ModelSpec) -> GraphFacts:
    """Read the graph of an engine, without its weights.

    What is unknown of it, because onnx is not installed or the graph is damaged, is taken from the
    manifest, with a note.
    """
    if find_spec("onnx") is None:
        why = "decoder.onnx not read, which needs deltaport[export]"
        return _facts_of_manifest(manifest, spec, why)
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(folder / manifest.decoder, load_external_data=False).graph
    except DecodeError:
        return _facts_of_manifest(manifest, spec, "decoder.onnx is damaged")
    ops = Counter((node.domain, node.op_type) for node in graph.node)
    if not all(isinstance(name, str) for op in ops for name in op):
        # What is not UTF-8 comes as bytes.
        return _facts_of_manifest(manifest, spec, "decoder.onnx is damaged")
    found = {weight.name: _ONNX_DTYPES.get(weight.data_type) for weight in graph.initializer}
    dtypes = {name: dtype for name in parameter_shapes(spec) if (dtype := found.get(name))}
    notes: tuple[str, ...] = ()
    if len(dtypes) < len(parameter_shapes(spec)):
        # Passes have joined weights. Where matrices are of one dtype, there is nothing to doubt.
        dtypes = _assumed_dtypes(manifest, spec) | dtypes
        if manifest.dtype not in ITEM_BYTES:
            notes = (f"decoder.onnx joins weights; {_manifest_says(manifest)}",)
    return GraphFacts(ops, dtypes, notes)


def facts_of_plan(plan: ExportPlan) -> GraphFacts:
    """The same of an engine to be."""
    from deltaport.exporter.quantized_sizes import quantized_formats

    checkpoint = plan.checkpoint
    dtypes = {name: dtype.name for name, dtype in checkpoint.storage.items()}
    formats = quantized_formats(plan.model.graph, checkpoint.binding.recipes)
    dtypes |= {name: str(format_) for name, format_ in formats.items()}
    return GraphFacts(Counter((node.domain, node.op_type) for node in plan.model.graph), dtypes)


def _facts_of_manifest(manifest: Manifest, spec: ModelSpec, why: str) -> GraphFacts:
    return GraphFacts(
        None, _assumed_dtypes(manifest, spec), (f"{why}; {_manifest_says(manifest)}",)
    )


def _assumed_dtypes(manifest: Manifest, spec: ModelSpec) -> dict[str, str]:
    """How parameters are stored by what the manifest says: of roles, and of all matrices."""
    matrices = manifest.dtype if manifest.dtype in ITEM_BYTES else "bfloat16"
    roles = {} if manifest.quantization is None else manifest.quantization.roles
    formats = {role: str(stored.format) for role, stored in roles.items()}
    return {
        name: "float32" if stored_as_float32(name, shape) else formats.get(role_of(name), matrices)
        for name, shape in parameter_shapes(spec).items()
    }


def _manifest_says(manifest: Manifest) -> str:
    assumed = "" if manifest.dtype in ITEM_BYTES else ", bfloat16 is assumed"
    return f"of matrices the manifest says {one_line(manifest.dtype[:60])}{assumed}"
