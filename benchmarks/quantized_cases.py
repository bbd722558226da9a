"""What ``benchmarks.quantized_kernels`` measures: ops of ours and of onnxruntime on one weight."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.one_op import Array, model_bytes, our_model
from benchmarks.quantized_case import QuantizedCase, peer_op
from benchmarks.quantized_mixture import mixture_case
from deltaport.custom_ops.definitions import QUANTIZED_LINEAR
from deltaport.graph_passes.quantize.code_layout import code_tiles, scale_tiles

__all__ = ["quantized_cases"]


def quantized_cases(chosen: str) -> Iterator[QuantizedCase]:
    """The cases whose name contains ``chosen``, made one at a time: some take a gigabyte."""
    for inputs, outputs, tokens in (
        (2048, 8192, (1, 16, 64, 512)),
        (1024, 3584, (1, 16, 64, 512)),
        (1024, 248320, (1,)),
    ):
        for block in (32, 128):
            for rows in tokens:
                name = f"linear {inputs}x{outputs} block={block} rows={rows}"
                if chosen in name:
                    yield _linear(name, inputs, outputs, block, rows)
    for block in (32, 128):
        for rows in (1, 16, 64, 512):
            name = f"moe block={block} T={rows}"
            if chosen in name:
                yield mixture_case(name, block, rows)


def _linear(name: str, inputs: int, outputs: int, block: int, rows: int) -> QuantizedCase:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (outputs, inputs), dtype=np.uint8)
    # What bfloat16 holds, so that both have the same weight.
    scales = rng.integers(128, 256, (outputs, inputs // block)).astype(np.float32) * 2.0**-16
    x = rng.standard_normal((1, rows, inputs), np.float32)
    weight = {"weight": code_tiles(codes, 4), "weight_scales": scale_tiles(scales[..., None])}
    ours = our_model(QUANTIZED_LINEAR, {"x": x, **weight}, {"N": outputs}, set(weight))
    return QuantizedCase(
        name,
        {"x": x},
        model_bytes(ours, weight),
        {f"level {level}": _mat_mul_n_bits(codes, scales, block, level) for level in (1, 4)},
        lambda: _exact(x, codes, scales, block),
        2.0 * rows * inputs * outputs,
        inputs * outputs * (0.5 + 2 / block),
    )


def _exact(x: Array, codes: Array, scales: Array, block: int) -> Array:
    y = np.empty((*x.shape[:2], len(codes)))
    for n in range(0, len(codes), 4096):  # a head in float64 takes gigabytes
        part = slice(n, n + 4096)
        matrix = (codes[part].astype(np.float64) - 8) * np.repeat(scales[part], block, 1)
        y[..., part] = x.astype(np.float64) @ matrix.T
    return y


def _mat_mul_n_bits(codes: Array, scales: Array, block: int, level: int) -> bytes:
    outputs, inputs = codes.shape
    pairs = codes.reshape(outputs, inputs // block, block)
    packed = (pairs[..., 0::2] | pairs[..., 1::2] << 4).astype(np.uint8)
    attributes = {
        "K": inputs,
        "N": outputs,
        "bits": 4,
        "block_size": block,
        "accuracy_level": level,
    }
    shapes = {"x": [1, "T", inputs]}
    return peer_op("MatMulNBits", ["x", "B", "s"], {"B": packed, "s": scales}, attributes, shapes)
