"""Pipelines: passes in a row, as objects and as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.pass_text import parse_pass, pass_text, split_passes
from deltaport.graph_passes.quantize.choose_formats import ChooseFormats
from deltaport.graph_passes.target_capabilities import TargetCapabilities, quantized_lowering

__all__ = ["PassRun", "Pipeline", "default_pipeline", "parse_pipeline"]

CLEAN = "eliminate-identities,fold-constants,eliminate-common-subexpressions"
FOLD = "fold-weight-layout,fold-norm-offset,eliminate-dead-code,fold-query-scale"
FUSE = (
    "fuse-gate-up,fuse-shared-expert,fuse-gated-norm,fuse-projections,fuse-residual-norm,"
    "fuse-stored-linear"
)
CHECK = "verify-graph,verify-state-layout"


@dataclass(frozen=True)
class PassRun:
    """One pass as it ran: its text, wall time in seconds, and nodes of the graph around it."""

    text: str
    seconds: float
    nodes_before: int
    nodes_after: int
    modified: bool


@dataclass(frozen=True)
class Pipeline:
    """Passes run one after another; an error leaves as its pass raised it."""

    passes: tuple[GraphPass, ...]

    @property
    def text(self) -> str:
        """What :func:`parse_pipeline` makes this pipeline of."""
        return ",".join(map(pass_text, self.passes))

    def prefix(self, count: int) -> Pipeline:
        """The first ``count`` passes."""
        return Pipeline(self.passes[:count])

    def __len__(self) -> int:
        return len(self.passes)

    def __iter__(self) -> Iterator[GraphPass]:
        return iter(self.passes)

    def __call__(
        self, model: ir.Model, *, after: Callable[[PassRun, ir.Model], None] = lambda *_: None
    ) -> ir.passes.PassResult:
        """Run all passes; ``modified`` says whether any changed the graph.

        ``after`` is called after each pass with what is known of its run, and the model.
        """
        modified = False
        for graph_pass in self.passes:
            nodes, start = len(model.graph), time.perf_counter()
            result = graph_pass(model)
            seconds = time.perf_counter() - start
            model, modified = result.model, modified or result.modified
            text = pass_text(graph_pass)
            after(PassRun(text, seconds, nodes, len(model.graph), result.modified), model)
        return ir.passes.PassResult(model, modified)


def parse_pipeline(text: str) -> Pipeline:
    """The pipeline written ``first-pass,second-pass{option=1}``; raises ``InputError``."""
    return Pipeline(tuple(map(parse_pass, split_passes(text))))


def default_pipeline(target: TargetCapabilities, recipe: str | None = None) -> Pipeline:
    """Clean up what tracing leaves, fold, fuse, lower to ``target``, and prove the result sound.

    With the ``recipe`` of this name or file weights are quantized on the way. Raises ``InputError``
    for a target that runs none that are.
    """
    lowering = target.lowering if recipe is None else quantized_lowering(target)
    safety = f"verify-in-place-safety{'{kernels=true}' if target.kernels else ''}"
    parts = (FOLD, FUSE, "eliminate-dead-code", lowering, CHECK, safety)
    # Not as text: the name of a file may hold anything.
    formats = () if recipe is None else (ChooseFormats(recipe),)
    first, then = (parse_pipeline(",".join(some)).passes for some in ((CHECK, CLEAN), parts))
    return Pipeline((*first, *formats, *then))
