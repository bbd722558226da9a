"""The library as users build it: what may be asked of it without a GPU."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from deltaport.errors import EngineError
from deltaport.runtime import Engine
from deltaport.runtime.tensorrt_library import PLUGINS_VARIABLE, TENSORRT_VARIABLE
from tests.end_to_end.command import deltaport
from tests.end_to_end.cpp_programs import ROOT, run, succeed
from tests.tensorrt.fake_plans import FakeTensorRt
from tests.tensorrt.headers import include_folder
from tests.tensorrt.mock_host import Library, MockHost
from tests.tensorrt.planned_toy import write_planned_toy
from tests.tensorrt.rtx import require_rtx
from tests.tensorrt.test_plugins import status, tensors
from tests.tensorrt.test_ports import OPS


def test_nothing_but_the_entry_points_is_exported(cuda_library: Path) -> None:
    lines = succeed("nm", "-D", "--defined-only", cuda_library).splitlines()
    exported = sorted(line.split()[-1] for line in lines)
    assert exported == ["deltaport_device_api", "getCreators", "setLoggerFinder"]


def test_it_tells_that_there_is_no_gpu(
    cuda_library: Path, fake_tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CUDA itself says so, where it sees none."""
    fake_tensorrt.use(monkeypatch)
    monkeypatch.setenv(PLUGINS_VARIABLE, str(cuda_library))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = deltaport("run", write_planned_toy(tmp_path, slots=1), "--ids", "1")
    assert done.returncode == 2
    assert re.search(r"decoder.plan: .*: there is no NVIDIA GPU to run it: \w", done.stderr)


def test_it_does_not_run_with_a_tensorrt_it_was_not_built_for(
    cuda_library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_rtx()
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    assert spec is not None
    (place,) = spec.submodule_search_locations or ()
    (library,) = Path(place).glob("libtensorrt_rtx.so.*")
    monkeypatch.setenv(PLUGINS_VARIABLE, str(cuda_library))
    monkeypatch.setenv(TENSORRT_VARIABLE, str(library))
    if "kernel_lens" not in str(include_folder()):
        pytest.skip("these headers may be those of TensorRT-RTX")
    with pytest.raises(EngineError, match=r"is version 1\.\d+, libdeltaport_tensorrt.so was built"):
        Engine.open(write_planned_toy(tmp_path, slots=1))


def test_it_has_the_plugins_that_are_tested_on_hosts(
    host: MockHost, cuda_library: Path, adapter: Library
) -> None:
    library = host.load(cuda_library)
    assert [creator.name for creator in library.creators] == list(OPS)
    for op in OPS:
        plugin = library.plugin(op)
        assert plugin.metadata() == adapter.plugin(op).metadata()
        assert status(plugin, op, tensors(op)) == 0
    assert host.log() == []


def test_cmake_says_what_it_lacks(tmp_path: Path, cuda_library: Path) -> None:
    """Where there is nvcc, which ``cuda_library`` makes sure of."""
    switches = ("-DDELTAPORT_PYTHON=OFF", "-DDELTAPORT_TENSORRT=ON", f"-DTENSORRT_ROOT={tmp_path}")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TENSORRT_ROOT", raising=False)
        done = run(Path("cmake"), "-S", ROOT, "-B", tmp_path / "build", *switches)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert f"needs NvInferRuntime.h, which is not in '{tmp_path}'" in said
    assert "set TENSORRT_ROOT to where TensorRT is unpacked" in said
