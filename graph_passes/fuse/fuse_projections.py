"""One product for the projections a mixer starts with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.products import Product, joinable, joined, product_of
from deltaport.graph_passes.quantize.weight_tags import format_of
from deltaport.graph_passes.rewriting import (
    constant,
    is_op,
    new_node,
    new_value,
    producer,
    replace,
    used_once,
)
from deltaport.weight_format import WeightFormat

__all__ = ["FuseProjections"]

_PROJECTED = {
    "GatedDeltaRule": (0, 2, 1),
    "GatedDeltaRuleNorm": (0, 1, 3, 2),
    "GatedAttention": (0, 1, 2),
}
"""Inputs of our ops that are projections of one activation, in the order they are joined in."""


@dataclass(frozen=True)
class FuseProjections(GraphPass):
    """Join the projections of one activation that a mixer's op takes.

    1. ``qkv``, ``z``, ``b`` and ``a`` of a gated delta rule, ``qkv`` through its convolution
    2. ``q_gate``, ``k`` and ``v`` of a gated attention, with or without biases

    become one product with the weights side by side, and a ``Split``; or one for each format, if
    ``choose-formats`` gave them several. Left alone where one is no product of a weight, is read
    elsewhere too, is of another activation, is stored in another dtype, or alone has a bias.
    """

    name = "fuse-projections"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fuse(model.graph, node)
        return ir.passes.PassResult(model, modified)

    def _try_fuse(self, graph: ir.Graph, node: ir.Node) -> bool:
        if node.op_type not in _PROJECTED or not is_op(node, node.op_type, DOMAIN):
            return False
        products: list[Product] = []
        for position in _PROJECTED[node.op_type]:
            product = product_of(_before_convolution(node.inputs[position]))
            if product is None or not used_once(product.result):
                return False
            products.append(product)
        of_format: dict[WeightFormat | None, list[Product]] = {}
        for product in products:
            of_format.setdefault(format_of(product.weight), []).append(product)
        groups = [group for group in of_format.values() if len(group) > 1]
        if not groups or not all(joinable(group) for group in groups):
            return False
        for group in groups:
            _join(graph, group)
        return True


def _join(graph: ir.Graph, products: list[Product]) -> None:
    nodes, together = joined(graph, products)
    results = [new_value("part", None, None) for _ in products]
    sizes = constant(graph, np.array([product.width for product in products], np.int64))
    nodes.append(new_node("Split", [together, sizes], results, {"axis": -1}))
    values = {product.result: part for product, part in zip(products, results, strict=True)}
    old = [each for product in products for each in product.nodes]
    matmuls = {product.matmul for product in products}
    # Before the first of them, since the convolution may come before the last.
    replace(old, nodes, values, at=next(each for each in graph if each in matmuls))


def _before_convolution(value: ir.Value | None) -> ir.Value | None:
    """What a convolution over time is given, if ``value`` is what it gives and only read once."""
    convolution = producer(value, "CausalConv1d", DOMAIN)
    if value is None or convolution is None or not used_once(value):
        return value
    return convolution.inputs[0]
