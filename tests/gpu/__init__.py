"""Where tests of what is made for GPUs run: on the host, or on a GPU under ``make gpu-check``."""

from __future__ import annotations

import os
from enum import StrEnum

import pytest

from tools.gpu_kernels.find_gpu import Gpu, NoGpuError, find_gpu

__all__ = ["PLACES", "REQUIRED", "Place", "require_gpu"]

REQUIRED = "DELTAPORT_GPU"
"""Where this variable is 1, these tests run on the GPU, and one has to be there."""


class Place(StrEnum):
    """Where kernels run."""

    HOST = "host"
    GPU = "gpu"


PLACES = (Place.GPU,) if os.environ.get(REQUIRED) == "1" else (Place.HOST,)


def require_gpu() -> Gpu:
    """The GPU of this machine, without which the test fails."""
    try:
        return find_gpu()
    except NoGpuError as error:
        pytest.fail(f"{REQUIRED} is 1, but there is {error}")
