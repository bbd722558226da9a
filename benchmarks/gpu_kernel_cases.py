"""What ``benchmarks.gpu_kernels`` measures: kernels, their inputs, and the bytes they must move."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.gpu_memory import GpuMemory
from benchmarks.gpu_mixture import MixtureShape, Stored, mixture_calls
from tools.gpu_kernels.arguments import Convolution, DeltaRule

__all__ = ["Call", "GpuCase", "LayerShape", "gpu_cases"]

_FEW_TOKENS = (1, 2, 4, 6, 8, 9, 12, 16, 24, 32, 64)
"""Among which the delta rule in chunks becomes the faster one."""


@dataclass(frozen=True)
class Call:
    """Arguments of one launch, and the bytes it cannot do without."""

    arguments: ctypes.Structure
    bytes: float


@dataclass(frozen=True)
class GpuCase:
    """A kernel by its name in the library, perhaps another one to compare with, and its calls.

    ``calls`` makes so many of different inputs, which take turns.
    """

    name: str
    kernel: str
    calls: Callable[[GpuMemory, int], Sequence[Call]]
    peer: str | None = None


@dataclass(frozen=True)
class LayerShape:
    """Sizes of the layers of a model, by default those of a 35B-A3B; activations are bfloat16."""

    key_heads: int = 16
    value_heads: int = 32
    head_dim: int = 128
    taps: int = 4
    mixture: MixtureShape = field(default_factory=MixtureShape)

    @property
    def channels(self) -> int:
        """Those of a query, a key and a value of all heads."""
        return (2 * self.key_heads + self.value_heads) * self.head_dim


def gpu_cases(shape: LayerShape) -> Iterator[GpuCase]:
    """All of them, by shape of the model's layers."""
    steps, chunks = "gated_delta_steps_bfloat16", "gated_delta_chunks_bfloat16"
    for rows in (1, 8, 64):
        calls = _delta_rule(shape, rows, 1)
        yield GpuCase(f"delta rule, decode of {rows}", steps, calls)
    for tokens in (512, 4096):
        yield GpuCase(f"delta rule, prefill of {tokens}", chunks, _delta_rule(shape, 1, tokens))
    for tokens in _FEW_TOKENS:
        name = f"delta rule, {tokens} tokens: chunks against steps"
        yield GpuCase(name, chunks, _delta_rule(shape, 1, tokens), peer=steps)
    for rows, tokens in ((1, 1), (8, 1), (64, 1), (1, 512), (1, 4096)):
        name = f"convolution, {_work(rows, tokens)}"
        yield GpuCase(name, "causal_conv1d_bfloat16", _convolution(shape, rows, tokens))
    for stored in Stored:
        for rows, tokens in ((1, 1), (8, 1), (64, 1), (1, 512)):
            calls = _mixture(shape.mixture, stored, rows, tokens)
            yield GpuCase(f"mixture in {stored}, {_work(rows, tokens)}", "sparse_moe", calls)


def _work(rows: int, tokens: int) -> str:
    return f"decode of {rows}" if tokens == 1 else f"prefill of {tokens}"


def _delta_rule(
    shape: LayerShape, rows: int, tokens: int
) -> Callable[[GpuMemory, int], list[Call]]:
    """With the norm behind it."""
    heads, dim, count = shape.value_heads, shape.head_dim, rows * tokens
    state = rows * heads * dim * dim
    width = shape.channels + 2 * heads * dim + 2 * heads  # qkv, z and o, a and b

    def make(memory: GpuMemory) -> Call:
        states = memory.floats(state, np.float32)
        arguments = DeltaRule(
            rows=rows,
            tokens=tokens,
            key_heads=shape.key_heads,
            value_heads=heads,
            key_dim=dim,
            value_dim=dim,
            qkv=memory.floats(count * shape.channels),
            a=memory.floats(count * heads),
            b=memory.floats(count * heads),
            A_log=memory.floats(heads, np.float32),
            dt_bias=memory.floats(heads, np.float32),
            state=states,
            lengths=memory.of(np.full(rows, tokens)),
            norm_eps=1e-6,
            z=memory.floats(count * heads * dim),
            norm=memory.floats(dim, np.float32),
            output_norm_eps=1e-6,
            o=memory.empty(2 * count * heads * dim),
            new_state=states,
        )
        return Call(arguments, 2 * 4 * state + 2 * count * width)

    return lambda memory, calls: [make(memory) for _ in range(calls)]


def _convolution(
    shape: LayerShape, rows: int, tokens: int
) -> Callable[[GpuMemory, int], list[Call]]:
    channels, count = shape.channels, rows * tokens
    window = rows * (shape.taps - 1) * channels

    def make(memory: GpuMemory) -> Call:
        state = memory.floats(window)
        arguments = Convolution(
            rows=rows,
            tokens=tokens,
            channels=channels,
            taps=shape.taps,
            x=memory.floats(count * channels),
            weight=memory.floats(channels * shape.taps),
            state=state,
            lengths=memory.of(np.full(rows, tokens)),
            y=memory.empty(2 * count * channels),
            new_state=state,
        )
        return Call(arguments, 2 * (2 * window + 2 * count * channels + channels * shape.taps))

    return lambda memory, calls: [make(memory) for _ in range(calls)]


def _mixture(
    shape: MixtureShape, stored: Stored, rows: int, tokens: int
) -> Callable[[GpuMemory, int], list[Call]]:
    def make(memory: GpuMemory, calls: int) -> list[Call]:
        return [Call(*made) for made in mixture_calls(memory, shape, stored, rows, tokens, calls)]

    return make
