"""What engines parity is measured of: every target, and every instruction set of our kernels."""

from __future__ import annotations

from deltaport.graph_passes.target_capabilities import TARGETS
from deltaport.runtime.kernel_library import supported_isas

__all__ = ["EVERY_TARGET", "label", "subjects"]


def subjects() -> list[tuple[str, str | None]]:
    """Every target, and where our kernels run it every instruction set they are compiled for."""
    # VNNI is for quantized weights: all else is what AVX-512 has without.
    isas = [isa for isa in supported_isas() if not isa.endswith("vnni")]
    of_kernels = [("ort-cpu", isa) for isa in isas]
    others = [(target, None) for target in TARGETS if target != "ort-cpu"]
    return sorted([*of_kernels, *others], key=lambda subject: list(TARGETS).index(subject[0]))


EVERY_TARGET = list({subject[0]: subject for subject in reversed(subjects())}.values())[::-1]
"""Every target once, where our kernels run it with the best instruction set."""


def label(target: str, isa: str | None) -> str:
    return target if isa is None else f"{target} {isa}"
