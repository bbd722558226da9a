"""Which TensorRT is taken, and what is said where none will do."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from deltaport.errors import InputError
from deltaport.exporter.tensorrt import tensorrt_library
from deltaport.exporter.tensorrt.tensorrt_library import (
    TensorRt,
    gpu_here,
    load_tensorrt,
    require_driver,
    require_fp8,
)

RTX, FULL = "tensorrt_rtx", "tensorrt"


def install(patch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let just these modules be there; None for one that cannot be imported."""
    for name in (RTX, FULL):
        version = versions.get(name)
        if version is None:
            patch.setitem(sys.modules, name, None)  # importing it fails as if it were absent
            continue
        module = ModuleType(name)
        module.__dict__["__version__"] = version
        patch.setitem(sys.modules, name, module)


def test_rtx_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tensorrt_rtx="1.7.1.116", tensorrt="11.4.0")
    assert (load_tensorrt().flavour, load_tensorrt().version) == ("TensorRT-RTX", "1.7.1.116")
    install(monkeypatch, tensorrt="11.4.0")
    assert (load_tensorrt().flavour, load_tensorrt().version) == ("TensorRT", "11.4.0")


def test_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(InputError, match="neither is installed; pip install tensorrt-rtx-cu13"):
        load_tensorrt()


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        (RTX, "1.6.9", "TensorRT-RTX 1.6.9 is too old; install 1.7 or newer"),
        (FULL, "10.14.1", "TensorRT 10.14.1 is too old; install 11.0 or newer"),
    ],
)
def test_an_old_one(monkeypatch: pytest.MonkeyPatch, name: str, version: str, message: str) -> None:
    install(monkeypatch, **{name: version})
    with pytest.raises(InputError, match=message):
        load_tensorrt()


def one(*, builds_for_others: bool) -> TensorRt:
    module = SimpleNamespace(ComputeCapability=None) if builds_for_others else SimpleNamespace()
    return TensorRt(module, "TensorRT-RTX", "1.7.1")


@pytest.mark.parametrize(
    ("others", "version", "message"),
    [
        (True, None, "no NVIDIA GPU with a driver; name the GPU to build for with --gpu"),
        (False, None, "no NVIDIA GPU with a driver; build where the engine is to run"),
        (True, 12040, "made for CUDA 12.4, TensorRT-RTX 1.7.1 for CUDA 13; install a newer driver"),
    ],
)
def test_the_driver_must_be_there_and_new(others: bool, version: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_driver(one(builds_for_others=others), version)


@pytest.mark.parametrize("gpu", [None, "sm89", "sm90", "sm100", "sm120"])
def test_gpus_with_fp8(gpu: str | None) -> None:
    """Where none is known, TensorRT will tell."""
    require_fp8(gpu)


@pytest.mark.parametrize("gpu", ["sm75", "sm80", "sm87"])
def test_gpus_without_fp8(gpu: str) -> None:
    with pytest.raises(InputError, match=f"take a GPU of sm89 or newer, and the plan is for {gpu}"):
        require_fp8(gpu)


class Driver:
    """CUDA's, with one GPU."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def cuInit(self, flags: int) -> int:  # noqa: N802 - CUDA's name
        return 100 if self.fails else 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:  # noqa: N802
        value._obj.value = {75: 12, 76: 1}[attribute]
        return device


def test_the_gpu_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver, expected in ((Driver(), "sm121"), (Driver(fails=True), None)):
        monkeypatch.setattr(tensorrt_library.ctypes, "CDLL", lambda _, found=driver: found)
        assert gpu_here() == expected


def test_a_driver_that_will_do() -> None:
    require_driver(one(builds_for_others=True), 13000)
