"""What an oracle is, and what both kinds share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Oracle", "Reference", "continue_greedily", "smallest_margins"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """What a model makes of n prompt tokens, all float32 and without a batch axis but for state.

    ``logits`` [n,V] after each token; ``state`` after the last, by the engine's input names and
    [1,...] in its layouts, caches [1,Hkv,n,D]; ``taps`` [n,H] by ``tap_names``; ``margins`` [n],
    each token's smallest gap over the layers between the router logits of the last expert chosen
    and the first not chosen, infinite without routers. ``greedy`` are the tokens that follow, and
    ``greedy_logits`` [len(greedy),V] what they were picked from, and ``greedy_margins``
    [len(greedy)] the margins of the tokens after which those logits came.
    """

    logits: Array
    state: dict[str, Array]
    taps: dict[str, Array]
    margins: Array
    greedy: list[int]
    greedy_logits: Array
    greedy_margins: Array


class Oracle(Protocol):
    """A checkpoint's model, computed in float32."""

    @property
    def name(self) -> str:
        """What reports call it, with a version."""
        ...

    def run(self, tokens: Sequence[int], *, new_tokens: int) -> Reference:
        """Read ``tokens`` at once and continue greedily by ``new_tokens``, end tokens or not."""
        ...


def smallest_margins(router_logits: Sequence[NDArray[Any]], top_k: int, tokens: int) -> Array:
    """Each token's smallest margin [tokens], from one [tokens,experts] array a layer."""
    smallest = np.full(tokens, np.inf, dtype=np.float32)
    for logits in router_logits:
        if top_k < logits.shape[-1]:
            ranked = np.sort(logits.astype(np.float32), axis=-1)[:, ::-1]
            smallest = np.minimum(smallest, ranked[:, top_k - 1] - ranked[:, top_k])
    return smallest


def continue_greedily(
    logits: Array, step: Callable[[int], Array], count: int
) -> tuple[list[int], Array]:
    """The ``count`` most likely tokens after ``logits`` [V], and the logits [count,V] behind each.

    ``step(token)`` gives the logits [V] that follow a token.
    """
    tokens: list[int] = []
    seen: list[Array] = []
    for _ in range(count):
        logits = step(tokens[-1]) if tokens else logits
        tokens.append(int(logits.argmax()))
        seen.append(logits)
    return tokens, np.stack(seen) if seen else np.zeros((0, len(logits)), dtype=np.float32)
