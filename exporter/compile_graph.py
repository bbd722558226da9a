"""Running the passes over a traced graph, and telling what they did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from deltaport.exporter.dump_folder import DumpFolder
from deltaport.graph_passes.node_counts import NodeCount, node_counts
from deltaport.graph_passes.pipeline import PassRun, default_pipeline, parse_pipeline
from deltaport.graph_passes.quantize.choose_formats import ChooseFormats
from deltaport.graph_passes.quantize.quantization_recipe import quantization_recipe
from deltaport.graph_passes.quantize.weight_tags import check_formats
from deltaport.graph_passes.target_capabilities import TargetCapabilities

__all__ = ["Compilation", "compile_graph"]


@dataclass(frozen=True)
class Compilation:
    """What the passes of an export did: how each ran, and the nodes of layers before and after.

    ``recipe``: the one that weights were quantized by, None where none were.
    """

    passes: str
    recipe: str | None
    runs: tuple[PassRun, ...]
    before: Mapping[str, NodeCount]
    after: Mapping[str, NodeCount]


def compile_graph(
    model: ir.Model,
    target: TargetCapabilities,
    *,
    recipe: str | None = None,
    passes: str | None = None,
    dumps: DumpFolder | None = None,
) -> tuple[ir.Model, Compilation]:
    """Run ``passes``, or else the pipeline of ``target``, over a graph whose weights are recipes.

    The pipeline of the target quantizes weights by ``recipe``, a name or a file, if there is one.

    Raises ``PassError`` where a pass refuses the graph that those before it leave, or a format that
    was chosen for a weight is not carried out: a bug in a pipeline of ours, a mistake in one that
    somebody has given.
    """
    pipeline = default_pipeline(target, recipe) if passes is None else parse_pipeline(passes)
    before = node_counts(model)
    runs: list[PassRun] = []

    def after(run: PassRun, graph: ir.Model) -> None:
        runs.append(run)
        if dumps is not None:
            dumps.write(graph, run.text.partition("{")[0])

    if dumps is not None:
        dumps.write(model)
    model = pipeline(model, after=after).model
    check_formats(model.graph)
    recipes = [each.recipe for each in pipeline if isinstance(each, ChooseFormats)]
    chosen = quantization_recipe(recipes[-1]).name if recipes else None
    return model, Compilation(pipeline.text, chosen, tuple(runs), before, node_counts(model))
