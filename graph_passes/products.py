"""Products of an activation with a weight: recognised, and joined where they share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.quantize.weight_tags import format_of, same_format, set_format
from deltaport.graph_passes.recipes.layout_recipes import Concat
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.rewriting import (
    new_node,
    new_value,
    new_weight,
    producer,
    recipe_of,
    used_once,
)

__all__ = ["Product", "joinable", "joined", "joined_name", "product_of"]


@dataclass(frozen=True)
class Product:
    """``MatMul(x, weight)`` or ``MatMul(x, Cast(weight))``, perhaps with a bias added.

    ``weight`` [K,N] has ``recipe``; ``nodes`` are all that disappear with the product.
    """

    result: ir.Value
    nodes: tuple[ir.Node, ...]
    x: ir.Value
    weight: ir.Value
    recipe: Recipe
    bias: ir.Value | None

    @property
    def width(self) -> int:
        """N."""
        return self.recipe.shape[1]

    @property
    def matmul(self) -> ir.Node:
        """The node that multiplies."""
        return next(node for node in self.nodes if node.op_type == "MatMul")

    @property
    def is_cast(self) -> bool:
        """Whether the weight is stored in another dtype than it is computed with."""
        return any(node.op_type == "Cast" for node in self.nodes)


def product_of(result: ir.Value | None) -> Product | None:
    """The product that gives ``result``, if nothing else reads what lies between."""
    if result is None:  # for the type checker
        return None
    add = producer(result, "Add")
    if add is None:
        return _plain(result, result, (), None)
    for of_product, bias in (add.inputs, reversed(add.inputs)):
        recipe = recipe_of(bias)
        if of_product is None or recipe is None or bias is None or not used_once(bias):
            continue
        found = _plain(of_product, result, (add,), bias) if used_once(of_product) else None
        if found is not None and recipe.shape == (found.width,):
            return found
    return None


def _plain(
    value: ir.Value, result: ir.Value, after: tuple[ir.Node, ...], bias: ir.Value | None
) -> Product | None:
    matmul = producer(value, "MatMul")
    if matmul is None:
        return None
    x, weight = matmul.inputs
    nodes = (matmul, *after)
    cast = producer(weight, "Cast")
    if cast is not None and weight is not None and used_once(weight):
        weight, nodes = cast.inputs[0], (cast, *nodes)
    recipe = recipe_of(weight)
    if x is None or weight is None or recipe is None or not used_once(weight):
        return None
    return Product(result, nodes, x, weight, recipe, bias) if len(recipe.shape) == 2 else None


def joinable(products: Sequence[Product]) -> bool:
    """Whether one product can do the work of all: same activation, stored alike, all or no bias."""
    first = products[0]
    return same_format([product.weight for product in products]) and all(
        other.x is first.x
        and other.recipe.dtype == first.recipe.dtype
        and other.is_cast == first.is_cast
        and (other.bias is None) == (first.bias is None)
        and other.result.dtype == first.result.dtype
        for other in products
    )


def joined(graph: ir.Graph, products: Sequence[Product]) -> tuple[list[ir.Node], ir.Value]:
    """Nodes of one product with the weights of all side by side, and its result [.., sum of N]."""
    first = products[0]
    width = sum(product.width for product in products)
    dtype = first.result.dtype
    shape = None if first.result.shape is None else [*first.result.shape[:-1], width]
    weight = _joined_weight(graph, [product.weight for product in products], axis=1)
    nodes: list[ir.Node] = []
    if first.is_cast:
        assert dtype is not None, "what a product gives has a dtype"
        wide = new_value(f"{weight.name}.cast", dtype, weight.shape)
        nodes.append(new_node("Cast", [weight], [wide], {"to": dtype.value}))
        weight = wide
    result = new_value(f"{first.result.name}.joined", dtype, shape)
    nodes.append(new_node("MatMul", [first.x, weight], [result]))
    biases = [product.bias for product in products if product.bias is not None]
    if biases:
        product, result = result, new_value(f"{first.result.name}.biased", dtype, shape)
        nodes.append(new_node("Add", [product, _joined_weight(graph, biases, axis=0)], [result]))
    return nodes, result


def _joined_weight(graph: ir.Graph, parts: Sequence[ir.Value], *, axis: int) -> ir.Value:
    recipes = [recipe for part in parts if (recipe := recipe_of(part)) is not None]
    name = joined_name([str(part.name) for part in parts])
    joined_weight = new_weight(graph, name, Concat(tuple(recipes), axis))
    set_format(joined_weight, format_of(parts[0]))
    return joined_weight


def joined_name(names: Sequence[str]) -> str:
    """``a.b.w`` and ``a.c.w`` as ``a.b+c.w``."""
    split = [name.split(".") for name in names]
    depth = min(map(len, split))
    head = next((i for i in range(depth) if len({parts[i] for parts in split}) > 1), depth)
    room = depth - head
    tail = next((i for i in range(room) if len({parts[-1 - i] for parts in split}) > 1), room)
    middle = "+".join(".".join(parts[head : len(parts) - tail]) for parts in split)
    return ".".join([*split[0][:head], middle, *split[0][len(split[0]) - tail :]])
