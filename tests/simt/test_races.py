"""That kernels with a race are found: small ones that have one, beside some that have none."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import Array
from tests.simt.any_order import in_any_order
from tests.simt.fake_gpu import FakeKernels, compile_kernels
from tools.gpu_kernels.driver import CudaError

pytestmark = pytest.mark.emulation

COUNT = 64
VALUES = np.arange(1, COUNT + 1, dtype=np.float32)
ONE_PLACE = "threads write the same place in one phase"


class RaceArgs(ctypes.Structure):
    """``RaceArgs`` of racing_kernels.cu."""

    _fields_ = (("source", ctypes.c_void_p), ("to", ctypes.c_void_p))


@pytest.fixture(scope="module")
def racing(compiled: Path) -> FakeKernels:
    return compile_kernels(compiled / "races.so", Path(__file__).with_name("racing_kernels.cu"))


def run(kernels: FakeKernels, name: str, values: Array = VALUES) -> Array:
    found = np.zeros(COUNT, np.float32)
    with kernels.lend() as memory:
        arguments = RaceArgs(source=memory.reads(values), to=memory.writes(found))
        kernels.run(name, arguments)
    return found


def run_apart(kernels: FakeKernels, name: str, values: Array = VALUES) -> Array:
    with kernels.apart():
        return run(kernels, name, values)


SOUND = {
    "neighbours_wait": np.roll(VALUES, 1),
    "lanes_wait": np.roll(VALUES.reshape(2, 32), -1, axis=1).reshape(-1),
    "threads_write_their_own": np.where(np.isin(np.arange(COUNT), (5, 9)), VALUES, 0),
    "lanes_write_their_own": np.where(np.isin(np.arange(COUNT), (5, 9)), VALUES, 0),
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_where_nothing_races(racing: FakeKernels, name: str) -> None:
    (found,) = in_any_order(racing, lambda: (run(racing, name),))
    assert (found == SOUND[name]).all()
    assert (run_apart(racing, name) == found).all()


@pytest.mark.parametrize("name", ["neighbours_race", "lanes_race"])
def test_a_read_of_what_another_writes_in_the_same_phase(racing: FakeKernels, name: str) -> None:
    apart = run_apart(racing, name)
    assert np.isnan(apart).all(), "they read what nobody has written yet"
    assert run(racing, name).tobytes() != apart.tobytes()


def test_lanes_that_race_are_found_by_no_order(racing: FakeKernels) -> None:
    """Which is what the third way of taking turns is for."""
    (found,) = in_any_order(racing, lambda: (run(racing, "lanes_race"),))
    assert (found == SOUND["lanes_wait"]).all()


def test_an_order_finds_neighbours(racing: FakeKernels) -> None:
    with pytest.raises(AssertionError, match="depends on the order of threads"):
        in_any_order(racing, lambda: (run(racing, "neighbours_race"),))


WRITERS = ("threads_write_one_place", "lanes_write_one_place")


@pytest.mark.parametrize("name", WRITERS)
def test_two_that_write_one_place(racing: FakeKernels, name: str) -> None:
    with pytest.raises(CudaError, match=f"^{name}: {ONE_PLACE}$"):
        run_apart(racing, name)
    run(racing, name)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("thread", [5, 9])
def test_a_write_of_what_was_there_is_not_seen(racing: FakeKernels, name: str, thread: int) -> None:
    """As docs/architecture.md says of what is not found; an order finds it here."""
    values = VALUES.copy()
    values[thread] = 0
    assert run_apart(racing, name, values)[0] == values[9 if thread == 5 else 5]
    with pytest.raises(AssertionError, match="depends on the order of threads"):
        in_any_order(racing, lambda: (run(racing, name, values),))
