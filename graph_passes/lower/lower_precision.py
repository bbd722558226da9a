"""Compute in the half precision that matrices are stored in."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import onnx_ir as ir

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN, Port
from deltaport.errors import InputError
from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.graph_pass import GraphPass, PreconditionError
from deltaport.graph_passes.lower.dtype_borders import DtypeBorders, is_float
from deltaport.graph_passes.lower.expand.value_types import CONTRIB
from deltaport.graph_passes.recipes.quantized_recipes import QuantizedPart
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.rewriting import is_op, recipe_of
from deltaport.state_layout import StateLayout

__all__ = ["LowerPrecision"]

_DTYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
}
_AUTO = "auto"
_PRODUCTS = {"Gather", "Gemm", "MatMul"}
"""Ops with a matrix of weights among their inputs: never run wider than that is stored."""


@dataclass(frozen=True)
class LowerPrecision(GraphPass):
    """Make activations, weights, caches and convolution windows half precision.

    1. What follows from the embedding, or from a cache or window, is computed in ``dtype``; the
       weights it takes are cast in their recipes, and casts of stored weights to float32 go.
    2. Float32 stay the recurrent state with the ``LinearAttention`` that carries it and whatever is
       computed for it alone (norms and gates), the rotary angles, and the logits.
    3. Where a value crosses over, a ``Cast`` stands, one for all its readers.

    ``dtype`` is ``float32``, ``float16``, ``bfloat16`` or ``auto``: that in which most elements of
    matrices are stored. Nothing is to do for float32. Wants ``lower-to-contrib`` before it, as our
    own ops are float32 by definition; with ``own-ops`` they may be there, and take and give
    ``dtype`` at all but the ports that their definition keeps float32, or has bfloat16 in any case.
    """

    name = "lower-precision"

    dtype: str = _AUTO
    own_ops: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in (_AUTO, *_DTYPES):
            raise InputError(
                f"pass {self.name}: option dtype: {self.dtype!r:.40} is none of "
                f"{', '.join((_AUTO, *_DTYPES))}"
            )

    def requires(self, model: ir.Model) -> None:
        """No op of ours, and no half precision of another kind."""
        dtype = self._chosen(model)
        if dtype == "float32":
            return
        if not self.own_ops and any(node.domain == DOMAIN for node in model.graph.all_nodes()):
            raise PreconditionError(
                f"{self.name}: the graph has {DOMAIN} nodes; lower-to-contrib comes first"
            )
        lowered = _lowered_to(model)
        if lowered not in (None, dtype):
            raise PreconditionError(f"{self.name}: the graph is {lowered} already, not {dtype}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Narrow in one sweep: what a node computes in follows from what it is given."""
        dtype = self._chosen(model)
        if dtype == "float32" or _lowered_to(model) == dtype:
            return ir.passes.PassResult(model, modified=False)
        graph, half = model.graph, _DTYPES[dtype]
        given = _retype_state(model, dtype)
        wide = _wide_nodes(graph)
        borders = DtypeBorders(graph)
        for node in list(graph):
            if _is_between_floats(node):
                _drop_cast(graph, node)
            else:
                is_half = node not in wide and _is_given_half(node, half)
                borders.compute_in(node, half if is_half else ir.DataType.FLOAT, _fixed_ports(node))
        for index, wanted in enumerate(given):
            if wanted is not None and is_float(graph.outputs[index]):
                borders.give(index, wanted)
        return ir.passes.PassResult(model, modified=True)

    def _chosen(self, model: ir.Model) -> str:
        if self.dtype != _AUTO:
            return self.dtype
        elements = Counter({"float32": 0})
        for value in model.graph.initializers.values():
            recipe = recipe_of(value)
            if recipe is not None and len(recipe.shape) >= 2:
                elements[_stored_dtype(recipe)] += math.prod(recipe.shape)
        return elements.most_common(1)[0][0]


def _stored_dtype(recipe: Recipe) -> str:
    """The dtype of a matrix, that of the checkpoint's if it is quantized."""
    parts = (part for part in recipe.walk() if isinstance(part, QuantizedPart))
    quantized = next(parts, None)
    return (recipe if quantized is None else quantized.inner).dtype.name


def _lowered_to(model: ir.Model) -> str | None:
    """The half precision of the state, if it has one."""
    return next((each.dtype for each in layout_of(model) if each.dtype != "float32"), None)


def _retype_state(model: ir.Model, dtype: str) -> list[ir.DataType | None]:
    """Make caches and windows ``dtype``; returns the dtypes outputs must have, state or not."""
    layout = StateLayout(
        tuple(
            tensor if tensor.kind == "recurrent" else replace(tensor, dtype=dtype)
            for tensor in layout_of(model)
        )
    )
    set_layout(model, layout)
    inputs = {value.name: value for value in model.graph.inputs}
    of_output: dict[str | None, ir.DataType] = {}
    for tensor in layout:
        inputs[tensor.input].type = ir.TensorType(_DTYPES[tensor.dtype])
        of_output[tensor.output] = _DTYPES[tensor.dtype]
    return [of_output.get(value.name, value.dtype) for value in model.graph.outputs]


def _wide_nodes(graph: ir.Graph) -> set[ir.Node]:
    """``LinearAttention``, and standard nodes that compute for it alone, products excepted."""
    wide: set[ir.Node] = set()
    for node in reversed(graph):
        readers = {use.node for output in node.outputs for use in output.uses()}
        is_plain = node.domain == "" and node.op_type not in _PRODUCTS
        if is_op(node, "LinearAttention", CONTRIB) or (is_plain and readers and readers <= wide):
            wide.add(node)
    return wide


def _is_given_half(node: ir.Node, half: ir.DataType) -> bool:
    """Whether an activation among the inputs is half precision, or it takes or unpacks weights."""
    reads_weights = is_op(node, "Gather") or is_op(node, "DequantizeLinear")
    if reads_weights and recipe_of(node.inputs[0]) is not None:
        return True
    return any(
        value is not None and value.dtype == half and recipe_of(value) is None
        for value in node.inputs
    )


def _fixed_ports(node: ir.Node) -> tuple[dict[int, ir.DataType], dict[int, ir.DataType]]:
    """The inputs and outputs that are of one dtype in any case, and which."""
    if node.domain != DOMAIN:
        return {}, {}
    definition = DEFINITIONS[node.op_type]

    def fixed(ports: tuple[Port, ...]) -> dict[int, ir.DataType]:
        wide = {i: ir.DataType.FLOAT for i, p in enumerate(ports) if p.name in definition.float32}
        scales = {i: ir.DataType.BFLOAT16 for i, p in enumerate(ports) if p.dtype == "bfloat16"}
        return wide | scales

    return fixed(definition.inputs), fixed(definition.outputs)


def _is_between_floats(node: ir.Node) -> bool:
    value = node.inputs[0] if is_op(node, "Cast") else None
    return value is not None and is_float(value) and is_float(node.outputs[0])


def _drop_cast(graph: ir.Graph, node: ir.Node) -> None:
    """Readers of a cast cast for themselves where they must; an output of the graph keeps its."""
    value, result = node.inputs[0], node.outputs[0]
    if value is None or result.is_graph_output():
        return
    if value.producer() is not None and not value.is_graph_output():
        # Names of the residual stream are part of the contract, and a cast may carry one.
        name, result.name = result.name, f"{result.name}.dropped"
        value.name = name
    ir.convenience.replace_all_uses_with(result, value)
    graph.remove(node, safe=True)
