"""What our plugins for TensorRT compute, in standard ONNX: stand-ins where there is no TensorRT."""

from __future__ import annotations

from collections.abc import Collection

import onnx
import onnx.parser

from deltaport.custom_ops.definitions import BODY_OPSET, DEFINITIONS, DOMAIN, DOMAIN_VERSION
from deltaport.custom_ops.definitions.quantized_weights import QUANTIZED_CONSTANTS, dequantized

__all__ = ["plugin_bodies"]


def plugin_bodies(ops: Collection[str]) -> list[onnx.FunctionProto]:
    """The functions that these ops need, by definition but for activations that are not rounded."""
    plain = {QUANTIZED.get(op, op) for op in ops}
    texts = [text for op, text in BODIES.items() if op in ops]
    return [*(DEFINITIONS[op].function for op in sorted(plain)), *map(_parsed, texts)]


QUANTIZED = {"QuantizedMoE": "SparseMoE", "QuantizedSharedExpertMoE": "SharedExpertMoE"}
"""Ops whose definitions round activations, and what plugins compute with dequantized weights."""


def _parsed(text: str) -> onnx.FunctionProto:
    opsets = f'"": {BODY_OPSET}, "{DOMAIN}": {DOMAIN_VERSION}'
    return onnx.parser.parse_function(f'<domain: "{DOMAIN}", opset_import: [{opsets}]>\n{text}')


def _matrices(weight: str, rows: str, inputs: str, *, parts: str, outer: str = "") -> str:
    """Text that makes ``{weight}_matrices`` [outer,rows of all parts,inputs] of codes and scales.

    Each of the ``parts`` has ``rows``, padded to whole tiles.
    """
    w = weight
    return f"""
    {w}_tile = Shape<start = -3>({w})
    {w}_tiles_shape = Concat<axis = 0>(q_rest, {w}_tile)
    {w}_tiles = Reshape({w}, {w}_tiles_shape)
    {w}_scale_tile = Shape<start = -3>({w}_scales)
    {w}_scale_tiles_shape = Concat<axis = 0>(q_rest, {w}_scale_tile)
    {w}_scale_tiles = Reshape({w}_scales, {w}_scale_tiles_shape)
    {dequantized(f"{w}_tiles", f"{w}_scale_tiles", f"{w}_padded")}
    {w}_padded_width = Shape<start = 1>({w}_padded)
    {w}_parts_shape = Concat<axis = 0>({parts}, q_rest, {w}_padded_width)
    {w}_parts = Reshape({w}_padded, {w}_parts_shape)
    {w}_real_rows = Slice({w}_parts, q_none, {rows}, q_first)
    {w}_real = Slice({w}_real_rows, q_none, {inputs}, q_second)
    {w}_shape = Concat<axis = 0>({outer}q_rest, {inputs})
    {w}_matrices = Reshape({w}_real, {w}_shape)
"""


_ROUTED = (
    QUANTIZED_CONSTANTS
    + """
    hidden = Shape<start = 2>(x)
    inner_width = Constant<value_int: int = @inner>()
    inner_1 = Unsqueeze(inner_width, q_none)
    experts = Shape<start = 0, end = 1>(gate_up)
    halves = Mul(experts, q_second)
"""
    + _matrices("gate_up", "inner_1", "hidden", parts="halves", outer="experts, ")
    + _matrices("down", "hidden", "inner_1", parts="experts", outer="experts, ")
)
_SHARED = (
    """
    shared_width = Constant<value_int: int = @shared_inner>()
    shared_1 = Unsqueeze(shared_width, q_none)
"""
    + _matrices("shared_gate_up", "shared_1", "hidden", parts="q_second")
    + _matrices("shared_down", "hidden", "shared_1", parts="q_first")
)

BODIES = {
    "QuantizedMoE": f"""
QuantizedMoE <top_k, inner> (x, router_logits, gate_up, gate_up_scales, down, down_scales, lengths)
    => (y)
{{
    {_ROUTED}
    y = {DOMAIN}.SparseMoE<top_k: int = @top_k>(
        x, router_logits, gate_up_matrices, down_matrices, lengths)
}}""",
    "QuantizedSharedExpertMoE": f"""
QuantizedSharedExpertMoE <top_k, inner, shared_inner> (
    x, router_logits, gate_up, gate_up_scales, down, down_scales, shared_gate, shared_gate_up,
    shared_gate_up_scales, shared_down, shared_down_scales, lengths) => (y)
{{
    {_ROUTED}
    {_SHARED}
    y = {DOMAIN}.SharedExpertMoE<top_k: int = @top_k>(
        x, router_logits, gate_up_matrices, down_matrices, shared_gate,
        shared_gate_up_matrices, shared_down_matrices, lengths)
}}""",
}
