"""One round of a benchmark: a fresh session reads a prompt and writes a few tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltaport.bench.process_memory import ProcessMemory, process_memory
from deltaport.errors import CapacityError
from deltaport.runtime import Engine
from deltaport.runtime.arguments import integer

__all__ = ["Load", "Round", "check_fits", "run_round"]

_SEED = 20


@dataclass(frozen=True)
class Load:
    """What a round does: ``sequences`` side by side, each with the same numbers of tokens."""

    prompt_tokens: int
    new_tokens: int
    sequences: int
    context: int | None

    def length(self) -> float:
        """Tokens a decode step reads the keys of, its own included, on average over the steps."""
        return self.prompt_tokens + self.new_tokens / 2


@dataclass(frozen=True)
class Round:
    """Seconds, and the memory at the end.

    ``prefill`` is for all prompts; ``first_token`` adds opening the session and choosing the
    token; ``steps`` are the decode steps, choosing included.
    """

    first_token: float
    prefill: float
    steps: tuple[float, ...]
    memory: ProcessMemory


def check_fits(load: Load, engine: Engine) -> None:
    """Refuse a load that exceeds the context, as the session would, which knows no options."""
    most = engine.manifest.longest_context
    context = most if load.context is None else integer("context", load.context, most=most)
    needed = load.prompt_tokens + load.new_tokens
    if needed > context:
        higher = ", or a higher --context" if context < most else ""
        raise CapacityError(
            f"a prompt of {load.prompt_tokens} tokens and {load.new_tokens} new ones need a "
            f"context of {needed}, it is {context}; pass a lower --prompt-tokens or "
            f"--new-tokens{higher}"
        )


def run_round(engine: Engine, load: Load) -> Round:
    """Measure one round, over token ids that are random but the same every time."""
    vocab = engine.manifest.vocab_size
    shape = (load.sequences, load.prompt_tokens)
    prompts = np.random.default_rng(_SEED).integers(0, vocab, shape).tolist()

    start = time.perf_counter()
    session = engine.session(load.sequences, context=load.context)
    opened = time.perf_counter()
    logits = session.prefill(prompts)
    read = time.perf_counter()
    tokens = _most_likely(logits)
    first = time.perf_counter()
    steps = []
    for _ in range(load.new_tokens - 1):
        before = time.perf_counter()
        tokens = _most_likely(session.decode(tokens))
        steps.append(time.perf_counter() - before)
    # The session, whose state counts, is there until this returns.
    return Round(first - start, read - opened, tuple(steps), process_memory())


def _most_likely(logits: list[NDArray[np.float32] | None]) -> list[int | None]:
    return [None if row is None else int(row.argmax()) for row in logits]
