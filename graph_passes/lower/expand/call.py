"""A call of one of our ops, read by the names of the op's definition."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.transposed_recipe import transposed
from deltaport.graph_passes.rewriting import new_weight, recipe_of, set_recipe, used_once

__all__ = ["Call"]


class Call:
    """A node of domain ``ai.deltaport`` in a graph."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.definition = DEFINITIONS[node.op_type]
        self._where = f"{DOMAIN}.{node.op_type} ({node.name})"

    def __getitem__(self, port: str) -> ir.Value:
        """The value given to the input called ``port``."""
        names = [each.name for each in self.definition.inputs]
        value = self.node.inputs[names.index(port)]
        assert value is not None, "no input of our ops is optional"
        return value

    @property
    def inputs(self) -> dict[str, ir.Value]:
        """All inputs by the names of their ports."""
        return {port.name: self[port.name] for port in self.definition.inputs}

    def size(self, port: str, axis: int) -> int:
        """The size of a dimension that is the same in every step; PassError where it is not."""
        shape = self[port].shape
        dim = None if shape is None else shape[axis]
        if not isinstance(dim, int):
            raise PassError(f"{self._where}: {port} has shape {shape}, axis {axis} is not known")
        return dim

    def dtype(self, port: str) -> ir.DataType:
        """The dtype of the value given to ``port``; PassError where it has none."""
        found = self[port].dtype
        if found is None:
            raise PassError(f"{self._where}: {port} has no dtype")
        return found

    def number(self, name: str) -> int | float:
        """The value of an attribute, its default where the node does not say."""
        if name in self.node.attributes:
            value: int | float = self.node.attributes[name].value
            return value
        default = self.definition.attributes[name].default
        if default is None:
            raise PassError(f"{self._where}: attribute {name} is missing")
        return default

    def recipe(self, port: str) -> Recipe:
        """The recipe of the weight given to ``port``; PassError where that is no weight."""
        recipe = recipe_of(self[port])
        if recipe is None:
            raise PassError(f"{self._where}: {port} is {self[port].name}, expected a weight")
        return recipe

    def laid_out(self, port: str, recipe: Recipe, how: str) -> ir.Value:
        """The weight of ``port`` as ``recipe`` gives it.

        That is the weight itself, or a new one, called ``how``, where others read it too.
        """
        weight, graph = self[port], self.node.graph
        assert graph is not None, "passes rewrite nodes that are in a graph"
        if used_once(weight):
            set_recipe(weight, recipe)
            return weight
        name = f"{weight.name}.{how}"
        return graph.initializers.get(name) or new_weight(graph, name, recipe)

    def turned(self, port: str) -> dict[str, ir.Value]:
        """The weight [N,K] of ``port``, transposed by its recipe, as ``{port}_turned``."""
        recipe = transposed(self.recipe(port), (1, 0))
        return {f"{port}_turned": self.laid_out(port, recipe, "transposed")}
