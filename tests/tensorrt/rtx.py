"""TensorRT-RTX, which builds for GPUs that are not there."""

from __future__ import annotations

import importlib.util
import os

from tests.tensorrt.headers import missing

__all__ = ["plan_gpus", "require_rtx"]


def require_rtx() -> None:
    """Skip the test where this Python has no TensorRT-RTX, or fail it where it must have it."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        missing("there is no TensorRT-RTX: 'pip install tensorrt-rtx-cu13'")


def plan_gpus() -> list[str]:
    """The GPUs to build for: one, unless PLAN_GPUS names others."""
    return os.environ.get("PLAN_GPUS", "sm89").split()
