"""What a plan is built for: a GPU, and steps up to a size."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from deltaport.errors import InputError
from deltaport.state_layout import StateLayout

__all__ = ["DEFAULT_CONTEXT", "PlanOptions"]

_FIRST_OF_PLUGINS = 80
"""The compute capability that our kernels begin with: older tensor cores know no TF32."""

_ALIGNMENT = 256
"""Bytes, of every address that TensorRT is given."""

DEFAULT_CONTEXT = 8192
"""Tokens a sequence may have, where nobody says and the model was trained for as many."""


@dataclass(frozen=True)
class PlanOptions:
    """The sizes a plan is compiled for: its steps may have up to so many of each.

    ``slots``: sequences that decode together. ``prefill_tokens``: tokens of a sequence read in one
    step. ``context``: tokens of a sequence in all, which its caches have room for in any case; None
    for what the model was trained for, and :data:`DEFAULT_CONTEXT` at most. ``gpu``: a compute
    capability such as ``sm89``; None for the GPU of this machine. ``plugins``: the file of our
    plugins, ``libdeltaport_tensorrt.so``, for graphs that call them; with it ``gpu`` is one that
    they run on. ``timing_cache``: a file of times that TensorRT measured before, which is made
    where it is not there.
    """

    slots: int = 8
    prefill_tokens: int = 512
    context: int | None = None
    gpu: str | None = None
    plugins: str | None = None
    timing_cache: str | None = None

    def __post_init__(self) -> None:
        for option, value in (
            ("--slots", self.slots),
            ("--prefill-tokens", self.prefill_tokens),
            ("--context", 1 if self.context is None else self.context),
        ):
            if not 0 < value < 2**31:
                raise InputError(f"{option} is {value}, expected a positive integer")
        if self.gpu is not None and not re.fullmatch(r"sm\d{2,3}", self.gpu):
            raise InputError(
                f"--gpu is {self.gpu!r:.40}, expected a compute capability such as sm89"
            )
        if self.plugins and self.gpu and int(self.gpu.removeprefix("sm")) < _FIRST_OF_PLUGINS:
            raise InputError(
                f"--gpu {self.gpu}: our plugins run on sm{_FIRST_OF_PLUGINS} and newer; choose "
                "--target tensorrt-plain, which calls none"
            )

    def capacity(self, max_positions: int) -> int:
        """Tokens caches have room for.

        Raises ``InputError`` for more than the model knows, and for fewer than a step may have.
        """
        capacity = self._capacity(max_positions)
        if self.prefill_tokens > capacity:
            raise InputError(
                f"--prefill-tokens is {self.prefill_tokens}, expected at most {capacity}, the "
                "tokens a sequence has room for; see --context"
            )
        return capacity

    def check_state(self, layout: StateLayout, max_positions: int) -> None:
        """Refuse states that TensorRT finds no address for.

        Sequences that decode together lie one behind the other, and any of them may be the first.
        Raises ``InputError`` where a state of one is no multiple of :data:`_ALIGNMENT`.
        """
        for tensor in layout if self.slots > 1 else ():
            elements = math.prod(tensor.concrete_shape(1, self.capacity(max_positions)))
            if elements * tensor.itemsize % _ALIGNMENT:
                raise InputError(
                    f"--slots is {self.slots}, but {tensor.input} takes "
                    f"{elements * tensor.itemsize} bytes a sequence, expected a multiple of "
                    f"{_ALIGNMENT} where several decode together; choose --slots 1"
                )

    def _capacity(self, max_positions: int) -> int:
        if self.context is None:
            return min(max_positions, DEFAULT_CONTEXT)
        if self.context > max_positions:
            raise InputError(
                f"--context is {self.context}, expected at most {max_positions}, what the model "
                "was made for"
            )
        return self.context
