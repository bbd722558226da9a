from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.cpp_programs import ROOT
from tests.simt.fake_gpu import compile_for_host
from tools.gpu_kernels.find_gpu import Gpu, NoGpuError, find_gpu

MISSING = "libno_such_driver.so"


def test_what_a_driver_says(driver: Path) -> None:
    gpu = find_gpu(str(driver))
    assert gpu == Gpu("Fake GPU", (8, 9), "13.0", 1 << 30)
    assert gpu.architecture == "sm_89"


def test_a_driver_without_a_gpu(driver: Path) -> None:
    count = ctypes.CDLL(str(driver)).fake_gpu_count
    count(0)
    try:
        with pytest.raises(NoGpuError, match=r"^no GPU: NVIDIA's driver finds none$"):
            find_gpu(str(driver))
    finally:
        count(1)


def test_no_driver() -> None:
    message = f"^no GPU: {MISSING}, NVIDIA's driver, cannot be loaded$"
    with pytest.raises(NoGpuError, match=message):
        find_gpu(MISSING)


def test_a_driver_that_fails(tmp_path: Path) -> None:
    source = tmp_path / "driver.cc"
    source.write_text(
        'extern "C" int cuInit(unsigned) { return 100; }\n'
        'extern "C" int cuGetErrorString(int, const char** to) { return *to = "no device", 0; }\n'
    )
    driver = compile_for_host(tmp_path / "driver.so", source)
    with pytest.raises(NoGpuError, match=r"^no GPU: cuInit: no device$"):
        find_gpu(str(driver))


def test_the_command_ends_with_2_and_one_line(tmp_path: Path) -> None:
    page = (ROOT / "docs/gpu-results.md").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "tools.gpu_check", "--driver", MISSING, "--folder", tmp_path / "x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line == (
        f"make gpu-check: no GPU: {MISSING}, NVIDIA's driver, cannot be loaded; nothing was run"
    )
    assert not (tmp_path / "x").exists()
    assert (ROOT / "docs/gpu-results.md").read_bytes() == page
