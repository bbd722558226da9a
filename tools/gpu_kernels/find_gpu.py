"""Which GPU this machine has."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from tools.gpu_kernels.driver import DRIVER, CudaError, Driver

__all__ = ["Gpu", "NoGpuError", "find_gpu"]


class NoGpuError(RuntimeError):
    """There is no GPU to run on; says why."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU.

    ``cuda`` is the newest CUDA its driver runs, as in 13.0; ``memory`` is in bytes.
    """

    name: str
    capability: tuple[int, int]
    cuda: str
    memory: int

    @property
    def architecture(self) -> str:
        """As in sm_89."""
        return "sm_{}{}".format(*self.capability)


def find_gpu(library: str = DRIVER) -> Gpu:
    """The first GPU that the driver ``library`` finds. Raises ``NoGpuError``."""
    try:
        driver = Driver(library)
        count = driver.number("cuDeviceGetCount")
    except OSError:
        raise NoGpuError(f"no GPU: {library}, NVIDIA's driver, cannot be loaded") from None
    except CudaError as error:
        raise NoGpuError(f"no GPU: {error}") from None
    if count == 0:
        raise NoGpuError("no GPU: NVIDIA's driver finds none")
    device = driver.number("cuDeviceGet", 0)
    version = driver.number("cuDriverGetVersion")
    return Gpu(
        driver.name(device),
        driver.capability(device),
        f"{version // 1000}.{version % 1000 // 10}",
        driver.number("cuDeviceTotalMem_v2", device, kind=ctypes.c_size_t),
    )
