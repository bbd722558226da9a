"""How far an engine may be from its checkpoint, by how each stores its matrices."""

from __future__ import annotations

from dataclasses import dataclass

from deltaport.errors import EngineError
from deltaport.numerics import Quantity, tolerance
from deltaport.strict_json import quote

__all__ = ["Bounds", "lossy_dtype"]


_STORAGE = ("float32", "float16", "bfloat16")


def lossy_dtype(*, engine: str, checkpoint: str, source: str) -> str | None:
    """The dtype an export rounded the checkpoint's matrices to; None where storing lost nothing.

    Both are spelled as manifests spell them. An export stores all matrices in one dtype unless it
    keeps those of the checkpoint.
    """
    if engine in (checkpoint, "float32"):
        return None
    if engine not in _STORAGE:
        known = ", ".join(_STORAGE)
        raise EngineError(
            f"{source}: matrices are stored as {quote(engine)}, the checkpoint's as {checkpoint}; "
            f"expected the same, or one of {known}; export the engine again"
        )
    return engine


@dataclass(frozen=True)
class Bounds:
    """Largest relative errors that pass. ``dtype`` is whose rounding they allow.

    In float32 state and residual stream have bounds of their own, tighter than the logits'. Where
    weights were rounded to a half type, each layer's rounding drifts through all that follow, so
    everything inside the model is allowed what ``numerics`` derives for the logits at its end; its
    bounds for half states are for activations that are stored so, which an engine's are not. An
    engine with quantized weights rounds activations where it multiplies, and is bounded likewise.
    """

    dtype: str

    @property
    def logits(self) -> float:
        """For logits."""
        return tolerance(Quantity.LOGITS, self.dtype)

    @property
    def state(self) -> float:
        """For state tensors."""
        return self._inside(Quantity.MODEL_STATE)

    @property
    def stream(self) -> float:
        """For the residual stream, from which state is made."""
        return self._inside(Quantity.OUTPUT)

    @property
    def router_tie(self) -> float:
        """Router margin, in logits, below which rounding may choose another expert.

        That logits of routers, of the order of 1, are as accurate as those of the whole model.
        """
        return self.logits

    def _inside(self, quantity: Quantity) -> float:
        return tolerance(quantity, "float32") if self.dtype == "float32" else self.logits
