"""How much the quantized weights of a finished graph take, by what they are there for."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from deltaport.graph_passes.recipes.quantized_recipes import QuantizedPart
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.package import RoleStorage
from deltaport.weight_format import WeightFormat
from deltaport.weight_roles import role_of

__all__ = ["quantized_formats", "quantized_roles"]


def quantized_formats(graph: ir.Graph, parameters: Mapping[str, Recipe]) -> dict[str, WeightFormat]:
    """The format of every one of ``parameters`` that the graph stores quantized.

    ``parameters`` are recipes over a checkpoint's tensors, by canonical name.
    """
    found = _quantized(graph, parameters)
    return {name: format_ for _, format_, names in found for name in names}


def quantized_roles(graph: ir.Graph, parameters: Mapping[str, Recipe]) -> dict[str, RoleStorage]:
    """Roles with quantized weights, in the order of ``parameters``, and what these take.

    Weights that passes have joined share what they take together by their numbers of weights.
    """
    formats: dict[str, WeightFormat] = {}
    taken: dict[str, float] = {}
    for size, format_, names in _quantized(graph, parameters):
        weights = {name: math.prod(parameters[name].shape) for name in names}
        for name, count in weights.items():
            formats[name] = format_
            taken[name] = taken.get(name, 0.0) + size * count / sum(weights.values())
    roles: dict[str, RoleStorage] = {}
    for role in dict.fromkeys(role_of(name) for name in parameters if name in formats):
        names = [name for name in formats if role_of(name) == role]
        roles[role] = RoleStorage(
            format=formats[names[0]],
            parameters=sum(math.prod(parameters[name].shape) for name in names),
            bytes=round(sum(taken[name] for name in names)),
        )
    return roles


def _quantized(
    graph: ir.Graph, parameters: Mapping[str, Recipe]
) -> list[tuple[int, WeightFormat, list[str]]]:
    """Bytes and format of each tensor of codes or scales, and the parameters that are in it."""
    owner = {tensor: name for name, recipe in parameters.items() for tensor in recipe.sources()}
    found = []
    for value in graph.initializers.values():
        if not isinstance(value.const_value, RecipeTensor):
            continue
        recipe = value.const_value.recipe
        part = next((part for part in recipe.walk() if isinstance(part, QuantizedPart)), None)
        if part is not None:
            names = dict.fromkeys(owner[tensor] for tensor in recipe.sources())
            found.append((value.const_value.nbytes, part.format, list(names)))
    return found
