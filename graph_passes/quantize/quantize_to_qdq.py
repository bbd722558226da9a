"""Store weights in the formats chosen for them, and dequantize them by ONNX's own op."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.quantize.quantize_experts import quantize_experts
from deltaport.graph_passes.quantize.weight_tags import format_of, set_format
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.fp8_recipes import Fp8Codes, Fp8Scales
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.row_recipes import RowCodes, RowScales
from deltaport.graph_passes.recipes.unsqueeze_recipe import Unsqueeze
from deltaport.graph_passes.rewriting import (
    constant,
    is_op,
    new_node,
    new_value,
    new_weight,
    recipe_of,
)
from deltaport.weight_format import WeightFormat

__all__ = ["QuantizeToQdq"]

_WEIGHTS = {"Linear": {1}, "SparseMoE": {2, 3}, "SharedExpertMoE": {2, 3, 5, 6}}
"""Inputs of our ops that are weights [..,rows,inputs] which may be quantized."""


@dataclass(frozen=True)
class QuantizeToQdq(GraphPass):
    """Make codes and scales of weights that have a format, and ``DequantizeLinear`` for readers.

    1. ``Linear(x, w)``      becomes  ``Linear(x, DequantizeLinear(codes, scales))``
    2. ``SparseMoE`` and ``SharedExpertMoE``: the same for their experts
    3. ``Gather(w, ids)``    stays as it is, and its table in floating point

    With ``plugins`` mixtures become ``QuantizedMoE`` and ``QuantizedSharedExpertMoE`` in place of
    2., as ``quantize-weights`` makes them, for a backend that has plugins for these.

    Codes are int4 or int8 [..,rows,inputs], and a block of inputs has one scale. They are those of
    ``quantize-weights``, row by row; activations are not rounded. Inputs that fill no last block
    are padded, and ``Slice`` takes the padding away. Those of fp8 are e4m3, and a row has one
    scale. A table is read a row at a time, but dequantized as a whole: in floating point it costs
    memory alone, and a head tied to it gets codes of its own. ``choose-formats`` chose. Refused are
    formats with offsets, for which ``DequantizeLinear`` of int4 has no place, and a weight that
    another op reads.
    """

    name = "quantize-to-qdq"

    plugins: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Quantize in one sweep."""
        graph, modified = model.graph, False
        for node in list(graph) if self.plugins else ():
            modified |= quantize_experts(graph, node)
        dequantized: dict[ir.Value, ir.Value] = {}
        for node in list(graph):
            for position, value in enumerate(node.inputs):
                format_, recipe = None if value is None else format_of(value), recipe_of(value)
                if (
                    value is None
                    or format_ is None
                    or recipe is None
                    or _takes_rows(node, position)
                ):
                    continue
                self._require(node, position, value, format_)
                if value not in dequantized:
                    dequantized[value] = _dequantized(graph, value, recipe, format_, node)
                node.replace_input_with(position, dequantized[value])
        for name, weight in list(graph.initializers.items()):
            if weight in dequantized and not weight.uses():
                del graph.initializers[name]
            elif format_of(weight) is not None and weight.uses():
                set_format(weight, None)
                modified = True
        return ir.passes.PassResult(model, modified or bool(dequantized))

    def _require(
        self, node: ir.Node, position: int, weight: ir.Value, format_: WeightFormat
    ) -> None:
        where = f"{self.name}: {weight.name} is to be {format_}"
        takes = {"Linear": _WEIGHTS["Linear"]} if self.plugins else _WEIGHTS
        if node.domain != DOMAIN or position not in takes.get(node.op_type, ()):
            both = ", or of a mixture give experts and shared_expert a format both"
            raise PassError(
                f"{where}, and {node.op_type} reads it, which has no form with such weights; "
                f"leave its role out of the recipe{both if self.plugins else ''}"
            )
        if format_.asymmetric:
            raise PassError(
                f"{where}, and DequantizeLinear has no offsets of blocks; choose a format that is "
                "not asymmetric"
            )


def _takes_rows(node: ir.Node, position: int) -> bool:
    return is_op(node, "Gather") and position == 0 and node.attributes.get_int("axis", 0) == 0


def _dequantized(
    graph: ir.Graph, weight: ir.Value, recipe: Recipe, format_: WeightFormat, reader: ir.Node
) -> ir.Value:
    """What stands for ``weight``, computed in float32 before ``reader``."""
    axis, inputs = len(recipe.shape) - 1, recipe.shape[-1]
    codes, scales, attributes = _of_fp8(recipe) if format_.floating else _of_blocks(recipe, format_)
    parts = [
        new_weight(graph, f"{weight.name}.codes", codes),
        new_weight(graph, f"{weight.name}.scales", Cast(scales, np.dtype(np.float32))),
    ]
    name = f"{weight.name}.dequantized"
    result = new_value(name, ir.DataType.FLOAT, codes.shape)
    nodes = [new_node("DequantizeLinear", parts, [result], attributes)]
    if codes.shape[-1] > inputs:
        result.name = f"{name}.padded"
        bounds = [constant(graph, np.array([number])) for number in (0, inputs, axis)]
        whole, result = result, new_value(name, ir.DataType.FLOAT, recipe.shape)
        nodes.append(new_node("Slice", [whole, *bounds], [result]))
    graph.insert_before(reader, nodes)
    return result


_Parts = tuple[Recipe, Recipe, dict[str, int]]
"""Codes, scales, and the attributes that tell ``DequantizeLinear`` which codes have which scale."""


def _of_blocks(recipe: Recipe, format_: WeightFormat) -> _Parts:
    given = recipe, format_.bits, format_.block, format_.numbers
    attributes = {"axis": len(recipe.shape) - 1, "block_size": format_.block}
    return RowCodes(Codes(*given)), RowScales(Scales(*given)), attributes


def _of_fp8(recipe: Recipe) -> _Parts:
    """A scale for each row: of several matrices a row is told as a block of all its inputs."""
    codes, scales, axis = Fp8Codes(recipe), Fp8Scales(recipe), len(recipe.shape) - 1
    if axis == 1:
        return codes, scales, {"axis": 0}
    return codes, Unsqueeze(scales, axis), {"axis": axis, "block_size": recipe.shape[axis]}
