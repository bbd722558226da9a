"""Arrays on a GPU and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.gpu_kernels.driver import CudaError, Device, Driver, Event, Graph
from tools.gpu_kernels.lent_memory import lend


@pytest.fixture(scope="module")
def device(driver: Path) -> Device:
    return Device(Driver(str(driver)))


def poke(device: Device, address: int, value: int) -> None:
    device.upload(address, np.array([value], np.uint8))


def test_what_was_written_comes_back(device: Device) -> None:
    given, result = np.arange(7, dtype=np.float32), np.zeros(7, np.float32)
    with lend(device) as memory:
        device.copy(memory.writes(result), memory.reads(given), given.nbytes)
        assert not result.any(), "it lies on the host"
    assert (result == given).all()


def test_memory_that_is_read_and_written_is_there_once(device: Device) -> None:
    state = np.ones(3, np.float16)
    with lend(device) as memory:
        assert memory.reads(state) == memory.writes(state)
        device.upload(memory.reads(state), np.full(3, 2, np.float16))
    assert (state == 2).all()


@pytest.mark.parametrize("offset", [0, 2, 64, 130])
def test_addresses_are_aligned_as_on_the_host(device: Device, offset: int) -> None:
    array = np.zeros(300, np.uint8)[offset:]
    with lend(device) as memory:
        assert memory.reads(array) % 256 == array.ctypes.data % 256


@pytest.mark.parametrize(("at", "what"), [(-1, "before an array's begin"), (5, "behind")])
def test_writing_beside_an_array_is_found(device: Device, at: int, what: str) -> None:
    array = np.zeros(5, np.uint8)
    with pytest.raises(AssertionError, match=what), lend(device) as memory:
        poke(device, memory.writes(array) + at, 1)


def test_writing_an_input_is_found(device: Device) -> None:
    array = np.zeros(5, np.uint8)
    with pytest.raises(AssertionError, match="an input was written"), lend(device) as memory:
        poke(device, memory.reads(array) + 3, 1)


def test_an_error_has_a_name_and_a_reason(device: Device) -> None:
    with pytest.raises(CudaError, match=r"^cuMemAlloc_v2: invalid argument$"):
        device.allocate(0)


def test_events_tell_the_time_between(device: Device) -> None:
    begin, end = Event(device), Event(device)
    begin.record()
    end.record()
    assert 0 <= end.seconds_since(begin) < 60


def test_a_graph_that_cannot_be_recorded_leaves_the_stream_alone(device: Device) -> None:
    def fail() -> None:
        raise CudaError("x")

    with pytest.raises(CudaError, match=r"^x$"):
        Graph(device, fail)
    Graph(device, device.wait).launch()
