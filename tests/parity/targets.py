"""What engines parity is measured of: every target, and every instruction set of our kernels."""

from __future__ import annotations

from deltaport.graph_passes.target_capabilities import TARGETS
from deltaport.runtime.kernel_library import supported_isas

__all__ = ["BISECTED", "WITH_PLUGINS", "label", "subjects"]


WITH_PLUGINS = "tensorrt"
"""Its graphs differ from those of tensorrt-plain in calls of our ops, as portable ones have them:
parity of one checkpoint will do, in test_plugin_calls.py."""


def subjects() -> list[tuple[str, str | None]]:
    """Every target, and where our kernels run it every instruction set they are compiled for."""
    # VNNI is for quantized weights: all else is what AVX-512 has without.
    isas = [isa for isa in supported_isas() if not isa.endswith("vnni")]
    of_kernels = [("ort-cpu", isa) for isa in isas]
    others = [(target, None) for target in TARGETS if target not in ("ort-cpu", WITH_PLUGINS)]
    return sorted([*of_kernels, *others], key=lambda subject: list(TARGETS).index(subject[0]))


_EVERY_TARGET = list({subject[0]: subject for subject in reversed(subjects())}.values())[::-1]
"""Every target once, where our kernels run it with the best instruction set."""

BISECTED = [subject for subject in _EVERY_TARGET if not TARGETS[subject[0]].plan]
"""Those whose passes are proven one by one, but for TensorRT's: it adds a single one that changes
what is computed, which tests/passes compares op by op."""


def label(target: str, isa: str | None) -> str:
    return target if isa is None else f"{target} {isa}"
