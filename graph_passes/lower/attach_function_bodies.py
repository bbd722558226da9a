"""Ship the standard-ONNX bodies of our ops inside the model."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import BODY_OPSET, DEFINITIONS, DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.graph_pass import GraphPass, PreconditionError

__all__ = ["AttachFunctionBodies"]


@dataclass(frozen=True)
class AttachFunctionBodies(GraphPass):
    """Add a model-local function for every op of our domain the graph calls.

    A runtime with our kernels loaded runs those; any other inlines the body.
    """

    name = "attach-function-bodies"

    def requires(self, model: ir.Model) -> None:
        """Bodies and graph speak the same opset, or no runtime could inline them."""
        opset = model.graph.opset_imports.get("")
        if opset != BODY_OPSET:
            raise PreconditionError(
                f"{self.name}: graph is opset {opset}, function bodies are opset {BODY_OPSET}"
            )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Attach what is missing."""
        called = sorted({node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN})
        modified = False
        for op_type in called:
            modified |= self._try_attach(model, op_type)
        return ir.passes.PassResult(model, modified)

    def _try_attach(self, model: ir.Model, op_type: str) -> bool:
        if (DOMAIN, op_type, "") in model.functions:
            return False
        if op_type not in DEFINITIONS:
            raise PassError(f"{self.name}: {DOMAIN}.{op_type} has no definition")
        function = ir.serde.deserialize_function(DEFINITIONS[op_type].function)
        model.functions[function.identifier()] = function
        return True
