"""The two tensors that a quantized weight is."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.errors import PassError
from deltaport.graph_passes.recipes.layout_recipes import Concat, Slice
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.rewriting import new_weight
from deltaport.weight_format import TILE_ROWS, WeightFormat

__all__ = ["stored_weight"]


def stored_weight(
    graph: ir.Graph, weight: ir.Value, recipe: Recipe, format_: WeightFormat, *, halves: int = 1
) -> list[ir.Value]:
    """Codes and scales of ``weight`` [..,rows,inputs], named after it.

    With ``halves`` the rows are so many parts, each padded to whole tiles. Raises ``PassError`` for
    fp8, which has no tiles.
    """
    if format_.floating:
        raise PassError(
            f"{weight.name} is to be {format_}, which none of our kernels reads; choose int8 or "
            "int4"
        )
    axis = len(recipe.shape) - 2
    rows = recipe.shape[axis] // halves
    parts = [recipe]
    if halves > 1 and rows % TILE_ROWS:
        parts = [Slice(recipe, axis, i * rows, (i + 1) * rows) for i in range(halves)]
    given = format_.bits, format_.block, format_.numbers
    codes, scales = (
        [Codes(part, *given) for part in parts],
        [Scales(part, *given) for part in parts],
    )
    return [
        new_weight(graph, f"{weight.name}.codes", _together(codes, axis)),
        new_weight(graph, f"{weight.name}.scales", _together(scales, axis)),
    ]


def _together(parts: list[Codes] | list[Scales], axis: int) -> Recipe:
    return parts[0] if len(parts) == 1 else Concat(tuple(parts), axis)
