"""The passes a target's graph goes through."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.lower.fold_weight_layout import FoldWeightLayout
from deltaport.graph_passes.target_capabilities import TargetCapabilities
from deltaport.graph_passes.verify.verify_in_place_safety import VerifyInPlaceSafety
from deltaport.graph_passes.verify.verify_state_layout import VerifyStateLayout
from deltaport.state_layout import StateLayout

__all__ = ["Pipeline", "default_pipeline"]


@dataclass(frozen=True)
class Pipeline:
    """Passes run one after another; an error leaves as its pass raised it."""

    passes: tuple[ir.passes.PassBase, ...]

    def __call__(self, model: ir.Model) -> ir.passes.PassResult:
        """Run all passes; ``modified`` says whether any changed the graph."""
        modified = False
        for graph_pass in self.passes:
            result = graph_pass(model)
            model, modified = result.model, modified or result.modified
        return ir.passes.PassResult(model, modified)


def default_pipeline(layout: StateLayout, target: TargetCapabilities) -> Pipeline:
    """Clean up what tracing leaves, fold, lower to ``target``, and prove the result sound."""
    passes: list[ir.passes.PassBase] = [
        VerifyStateLayout(layout),
        common.IdentityEliminationPass(),
        common.CommonSubexpressionEliminationPass(),
        FoldWeightLayout(),
        common.RemoveUnusedNodesPass(),
    ]
    if target.function_bodies:
        passes.append(AttachFunctionBodies())
    passes += [VerifyStateLayout(layout), VerifyInPlaceSafety(layout)]
    return Pipeline(tuple(passes))
