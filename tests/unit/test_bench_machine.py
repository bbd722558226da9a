"""What is measured of the process and of the machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deltaport.bench import memory_bandwidth, process_memory
from deltaport.bench.memory_bandwidth import (
    bandwidth_in_new_process,
    read_bandwidth,
)
from deltaport.threads import available_threads

MIB = 1 << 20


def test_memory_that_is_taken_shows() -> None:
    before = process_memory.process_memory()
    taken = np.ones(200 * MIB, dtype=np.uint8)
    after = process_memory.process_memory()
    assert before.resident is not None
    assert after.resident is not None
    assert after.resident - before.resident == pytest.approx(taken.nbytes, rel=0.05)
    assert after.peak > 0.99 * after.resident, "the kernel counts roughly"
    del taken
    later = process_memory.process_memory()
    assert later.resident is not None
    assert later.resident < after.resident - 150 * MIB
    assert later.peak > 0.99 * after.peak


def test_without_proc_the_peak_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = process_memory.process_memory().peak
    monkeypatch.setattr(process_memory, "_STATUS", tmp_path / "status")
    found = process_memory.process_memory()
    assert found.resident is None
    assert found.peak == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("threads", [1, 3])
def test_bandwidth_is_bytes_by_the_best_time(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 4, 10, 12, 20, 25, 30, 34, 40, 43])  # rounds of 4, 2, 5, 4 and 3 seconds
    monkeypatch.setattr(memory_bandwidth.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(memory_bandwidth, "_LEAST_BYTES", 24 * MIB)
    monkeypatch.setattr(memory_bandwidth, "_last_cache_bytes", lambda: MIB)
    assert read_bandwidth(threads) == 24 * MIB / 2


def test_buffers_are_far_larger_than_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10))
    monkeypatch.setattr(memory_bandwidth.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(memory_bandwidth, "_LEAST_BYTES", 0)
    monkeypatch.setattr(memory_bandwidth, "_last_cache_bytes", lambda: 2 * MIB)
    assert read_bandwidth(1) == 16 * MIB


def test_size_of_the_last_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory_bandwidth, "_CACHE", tmp_path)
    assert memory_bandwidth._last_cache_bytes() == 0
    for i, size in enumerate(["48K", "2048K", "36M"]):
        (tmp_path / f"index{i}").mkdir()
        (tmp_path / f"index{i}" / "size").write_text(f"{size}\n")
    assert memory_bandwidth._last_cache_bytes() == 36 * MIB


def test_buffers_do_not_show_in_this_process() -> None:
    before = process_memory.process_memory().peak
    rate = bandwidth_in_new_process(available_threads())
    assert rate is not None
    assert 1e8 < rate < 1e13
    assert process_memory.process_memory().peak - before < 64 * MIB


def test_a_measurement_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_bandwidth, "__name__", "deltaport.bench.nothing_of_this_name")
    assert bandwidth_in_new_process(1) is None
