"""In what an engine's matrices differ from the checkpoint's, on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deltaport.strict_json import one_line
from deltaport.weight_format import WeightFormat

__all__ = ["MatrixRounding"]


@dataclass(frozen=True)
class MatrixRounding:
    """What an export did to matrices: nothing, or rounding them to ``dtype``, or quantizing, too.

    ``formats``: those of quantized matrices by role, as the recipe called ``recipe`` has them.
    ``dequantizes``: activations are not rounded where they meet these.
    """

    dtype: str | None = None
    recipe: str | None = None
    formats: Mapping[str, WeightFormat] = field(default_factory=dict)
    dequantizes: bool = False

    def describe(self) -> str:
        """``matrices rounded to bfloat16, quantized by int4``, or nothing."""
        parts = [
            f"matrices rounded to {self.dtype}" if self.dtype else "",
            f"quantized by {one_line(self.recipe)}" if self.recipe else "",
        ]
        return ", ".join(filter(None, parts))
