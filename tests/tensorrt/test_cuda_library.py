"""The library as users build it: what may be asked of it without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.cpp_programs import ROOT, run, succeed
from tests.tensorrt.mock_host import Library, MockHost
from tests.tensorrt.test_plugins import status, tensors
from tests.tensorrt.test_ports import OPS


def test_nothing_but_the_entry_points_is_exported(cuda_library: Path) -> None:
    lines = succeed("nm", "-D", "--defined-only", cuda_library).splitlines()
    assert sorted(line.split()[-1] for line in lines) == ["getCreators", "setLoggerFinder"]


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
