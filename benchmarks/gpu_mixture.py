"""Calls of a mixture of experts on a GPU: weights in any storage, tokens that choose at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import ml_dtypes
import numpy as np

from benchmarks.gpu_memory import Array, GpuMemory
from tools.gpu_kernels.arguments import ELEMENT_TYPES, Mixture, StoredMatrices, Weights

__all__ = ["MixtureShape", "Stored", "mixture_calls"]

_BFLOAT16 = ELEMENT_TYPES[np.dtype(ml_dtypes.bfloat16)]
_TILE, _GROUP, _BLOCK = 16, 32, 128
"""Rows of a tile, inputs of a group, inputs that share a scale."""


class Stored(StrEnum):
    """How weights of experts are stored; of codes with a scale for each block of inputs."""

    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Of a weight, without its share of a scale."""
        return {Stored.BFLOAT16: 16, Stored.INT8: 8, Stored.INT4: 4}[self]


@dataclass(frozen=True)
class MixtureShape:
    """Sizes of a mixture, by default those of a 35B-A3B: multiples of what codes want."""

    hidden: int = 2048
    experts: int = 256
    top_k: int = 8
    inner: int = 512
    shared_inner: int = 512


def mixture_calls(
    memory: GpuMemory, shape: MixtureShape, stored: Stored, rows: int, tokens: int, calls: int
) -> Iterator[tuple[Mixture, float]]:
    """Arguments of calls that share weights, and the bytes each must move."""
    gate_up, per_expert_in = _matrices(memory, stored, shape.experts, 2 * shape.inner, shape.hidden)
    down, per_expert_out = _matrices(memory, stored, shape.experts, shape.hidden, shape.inner)
    shared_gate_up, shared_in = _matrices(memory, stored, 1, 2 * shape.shared_inner, shape.hidden)
    shared_down, shared_out = _matrices(memory, stored, 1, shape.hidden, shape.shared_inner)
    shared_gate = Weights(memory.floats(shape.hidden), _BFLOAT16)
    lengths = memory.of(np.full(rows, tokens))
    count = rows * tokens
    for _ in range(calls):
        logits = memory.rng.standard_normal((count, shape.experts), np.float32)
        logits = logits.astype(ml_dtypes.bfloat16)
        arguments = Mixture(
            rows=rows,
            tokens=tokens,
            hidden=shape.hidden,
            experts=shape.experts,
            inner=shape.inner,
            top_k=shape.top_k,
            shared_inner=shape.shared_inner,
            x=Weights(memory.floats(count * shape.hidden), _BFLOAT16),
            router_logits=Weights(memory.of(logits), _BFLOAT16),
            lengths=lengths,
            gate_up=gate_up,
            down=down,
            shared_gate=shared_gate,
            shared_gate_up=shared_gate_up,
            shared_down=shared_down,
            y=memory.empty(2 * count * shape.hidden),
        )
        weights = chosen(logits, shape.top_k) * (per_expert_in + per_expert_out)
        activations = 2.0 * count * (2 * shape.hidden + shape.experts)
        yield arguments, weights + shared_in + shared_out + activations


def chosen(logits: Array, top_k: int) -> int:
    """How many experts any of the tokens [count, experts] chooses."""
    best = np.argsort(-logits.astype(np.float32), axis=1, kind="stable")[:, :top_k]
    return len(np.unique(best))


def _matrices(
    memory: GpuMemory, stored: Stored, count: int, rows: int, width: int
) -> tuple[StoredMatrices, float]:
    """A stack of ``count`` matrices [rows, width], and the bytes of one."""
    if stored is Stored.BFLOAT16:
        address = memory.floats(count * rows * width, scale=width**-0.5)
        return StoredMatrices(elements=Weights(address, _BFLOAT16)), 2.0 * rows * width
    tiles, groups, blocks = rows // _TILE, width // _GROUP, width // _BLOCK
    code_shape = (count, tiles, groups, stored.bits, 64)
    scale_shape = (count, tiles, blocks, 1, _TILE)
    code_bytes, scales = int(np.prod(code_shape)), int(np.prod(scale_shape))
    addresses = memory.codes(code_bytes), memory.floats(scales, scale=0.01)
    matrices = StoredMatrices.of_codes(*addresses, code_shape, scale_shape)
    return matrices, (code_bytes + 2 * scales) / count
