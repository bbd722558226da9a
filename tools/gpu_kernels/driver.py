"""CUDA's driver library, as far as kernels need it to be run and timed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRIVER", "CudaError", "Device", "Driver", "Event", "Graph"]

DRIVER = "libcuda.so.1"
_MAJOR, _MINOR, _L2_BYTES = 75, 76, 38  # of CUdevice_attribute
_THREAD_LOCAL = 1  # of CUstreamCaptureMode


class CudaError(RuntimeError):
    """A function of CUDA failed; says which and why."""


class Driver:
    """The driver library, initialised. Raises ``OSError`` where there is none, ``CudaError``."""

    def __init__(self, library: str = DRIVER) -> None:
        self.library = ctypes.CDLL(library)
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a ``CUresult``; integers are 32 bits wide."""
        error = getattr(self.library, name)(*arguments)
        if error:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(error, ctypes.byref(text))
            reason = text.value.decode() if text.value else f"error {error}"
            raise CudaError(f"{name}: {reason}")

    def number(self, name: str, *arguments: int, kind: Any = ctypes.c_int) -> int:
        """What a function writes to its first argument, which is of ``kind``."""
        value = kind()
        self.call(name, ctypes.byref(value), *arguments)
        return int(value.value or 0)

    def name(self, device: int) -> str:
        """As its maker calls it."""
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, len(text), device)
        return text.value.decode()

    def capability(self, device: int) -> tuple[int, int]:
        """The compute capability, (8, 9) for sm_89."""
        major, minor = (
            self.number("cuDeviceGetAttribute", attribute, device) for attribute in (_MAJOR, _MINOR)
        )
        return major, minor


class Device:
    """The first GPU, its memory and a stream; to be used by the thread that made it."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.number = driver.number("cuDeviceGet", 0)
        context = ctypes.c_void_p()
        driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.number)
        driver.call("cuCtxSetCurrent", context)
        self.stream = ctypes.c_void_p(driver.number("cuStreamCreate", 0, kind=ctypes.c_void_p))

    @property
    def l2_bytes(self) -> int:
        """Bytes of the cache that all of the GPU shares."""
        return self.driver.number("cuDeviceGetAttribute", _L2_BYTES, self.number)

    def allocate(self, count: int) -> int:
        """The address of ``count`` bytes, at least one."""
        address = ctypes.c_uint64()
        self.driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(count))
        return address.value

    def free(self, address: int) -> None:
        """Give back what was allocated."""
        self.driver.call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy a contiguous array there."""
        assert array.flags.c_contiguous
        host = ctypes.c_void_p(array.ctypes.data)
        count = ctypes.c_size_t(array.nbytes)
        self.driver.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), host, count)

    def download(self, address: int, count: int) -> NDArray[np.uint8]:
        """A copy of ``count`` bytes."""
        found = np.empty(count, np.uint8)
        host = ctypes.c_void_p(found.ctypes.data)
        self.driver.call("cuMemcpyDtoH_v2", host, ctypes.c_uint64(address), ctypes.c_size_t(count))
        return found

    def copy(self, to: int, from_: int, count: int) -> None:
        """Copy ``count`` bytes on the stream."""
        addresses = ctypes.c_uint64(to), ctypes.c_uint64(from_)
        self.driver.call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(count), self.stream)

    def wait(self) -> None:
        """Wait for all that is on the stream; raises ``CudaError`` for what went wrong there."""
        self.driver.call("cuStreamSynchronize", self.stream)


class Event:
    """A moment on the stream of a device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        create = device.driver.number("cuEventCreate", 0, kind=ctypes.c_void_p)
        self._event = ctypes.c_void_p(create)

    def __del__(self) -> None:
        self._device.driver.library.cuEventDestroy_v2(self._event)

    def record(self) -> None:
        """Be the moment at which all that is on the stream now is done."""
        self._device.driver.call("cuEventRecord", self._event, self._device.stream)

    def seconds_since(self, earlier: Event) -> float:
        """Wait for this moment, and say how long after the other one it was."""
        self._device.driver.call("cuEventSynchronize", self._event)
        milliseconds = ctypes.c_float()
        self._device.driver.call(
            "cuEventElapsedTime", ctypes.byref(milliseconds), earlier._event, self._event
        )
        return milliseconds.value / 1000


class Graph:
    """What ``record`` puts on the stream, which is not done but kept, to be put there at once.

    So that launches are timed and not the interpreter that makes them.
    """

    def __init__(self, device: Device, record: Callable[[], None]) -> None:
        self._device = device
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        call = device.driver.call
        call("cuStreamBeginCapture_v2", device.stream, _THREAD_LOCAL)
        try:
            record()
        finally:
            call("cuStreamEndCapture", device.stream, ctypes.byref(graph))
        call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
        call("cuGraphDestroy", graph)
        self._graph = made

    def __del__(self) -> None:
        if hasattr(self, "_graph"):
            self._device.driver.library.cuGraphExecDestroy(self._graph)

    def launch(self) -> None:
        """Put all of it on the stream."""
        self._device.driver.call("cuGraphLaunch", self._graph, self._device.stream)
