"""Running a kernel in two orders."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracles import Array
from tools.gpu_kernels.kernel_library import KernelLibrary

__all__ = ["in_any_order"]


def in_any_order(kernels: KernelLibrary, run: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
    """What ``run`` gives, which is the same whichever block, thread and lane has the first turn.

    So no thread reads what another writes in the same phase, and no block what another writes.
    """
    first = run()
    with kernels.last_first():
        again = run()
    for found, expected in zip(again, first, strict=True):
        assert found.tobytes() == expected.tobytes(), "the result depends on the order of threads"
    return first
