"""All kinds of recipes, by what they are called in text."""

from __future__ import annotations

from deltaport.graph_passes.recipes.arithmetic_recipes import Scale, Shift
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.fp8_recipes import Fp8Codes, Fp8Scales
from deltaport.graph_passes.recipes.int8_recipe import AsInt8
from deltaport.graph_passes.recipes.interleave_recipe import Interleave
from deltaport.graph_passes.recipes.layout_recipes import Concat, Slice, Squeeze, Stack, Transpose
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.row_recipes import RowCodes, RowScales
from deltaport.graph_passes.recipes.unsqueeze_recipe import Unsqueeze

__all__ = ["RECIPE_KINDS"]

RECIPE_KINDS: dict[str, type[Recipe]] = {
    kind.kind: kind
    for kind in (
        AsInt8,
        Cast,
        Codes,
        Concat,
        Fp8Codes,
        Fp8Scales,
        Interleave,
        RowCodes,
        RowScales,
        Scale,
        Scales,
        Shift,
        Slice,
        Squeeze,
        Stack,
        Transpose,
        Unsqueeze,
    )
}
"""The fields of each dataclass are the arguments in its text, in order. A ``Source`` has no kind:
its text is its name, dtype and shape."""
