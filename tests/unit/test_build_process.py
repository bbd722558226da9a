"""TensorRT apart: its answers, its refusals, and what is said when it dies."""

from __future__ import annotations

import _ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deltaport.errors import EngineError, InputError, OutputError, PassError
from deltaport.exporter.tensorrt.build_process import check_apart
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from tests.unit.stand_in_tensorrt import build, install_rtx


def test_what_would_build_is_told(stand_in: Path) -> None:
    install_rtx(stand_in)
    assert check_apart(PlanOptions(gpu="sm89")) == "TensorRT-RTX 1.7.2"
    with pytest.raises(InputError, match=r"--gpu sm90: TensorRT-RTX 1\.7\.2 builds for sm89 alone"):
        check_apart(PlanOptions(gpu="sm90"))


ANY_CAPABILITY = "Config.set_compute_capability = lambda self, capability, index: None\n"


def test_fp8_takes_a_gpu_that_has_it(stand_in: Path) -> None:
    install_rtx(stand_in, more=f"ComputeCapability.__members__['SM80'] = 80\n{ANY_CAPABILITY}")
    assert check_apart(PlanOptions(gpu="sm89"), fp8=True) == "TensorRT-RTX 1.7.2"
    assert check_apart(PlanOptions(gpu="sm80")) == "TensorRT-RTX 1.7.2"
    expected = (
        "weights in fp8 take a GPU of sm89 or newer, and the plan is for sm80; choose another"
    )
    with pytest.raises(InputError, match=expected):
        check_apart(PlanOptions(gpu="sm80"), fp8=True)


def test_an_input_that_the_parser_ignores_is_refused(stand_in: Path) -> None:
    install_rtx(stand_in, 'self.logger.log(3, "Unused Input:  nonpad_kv_seqlen"); return True')
    with pytest.raises(PassError, match="would ignore an input: Unused Input: nonpad_kv_seqlen"):
        build(stand_in)


def test_a_graph_that_the_parser_refuses(stand_in: Path) -> None:
    install_rtx(stand_in, 'self.logger.log(0, "no layer\\nfor this"); return False')
    stages: list[str] = []
    with pytest.raises(EngineError, match=r"decoder\.onnx: TensorRT-RTX refuses it: no layer for"):
        build(stand_in, stages)
    assert stages == ["parsing the graph for TensorRT"]


def test_a_network_that_is_not_the_contract_is_refused(stand_in: Path) -> None:
    install_rtx(stand_in)
    with pytest.raises(PassError, match="the network's inputs differ from the contract: input_ids"):
        build(stand_in)


@pytest.mark.parametrize(
    ("end", "message"),
    [("os.kill(os.getpid(), 11)", "ended with SIGSEGV"), ("os._exit(3)", "ended with exit code 3")],
)
def test_a_crash_is_told_in_a_line(stand_in: Path, end: str, message: str) -> None:
    install_rtx(stand_in, end)
    with pytest.raises(EngineError, match=f"TensorRT {message}, by .*try other --slots"):
        build(stand_in)
    assert not (stand_in / "decoder.plan").exists()


def test_a_disk_that_takes_no_plan_is_not_tensorrts_fault(stand_in: Path) -> None:
    install_rtx(stand_in, 'raise OSError(28, "No space left on device")')
    with pytest.raises(OutputError, match="the plan cannot be written: No space left on device"):
        build(stand_in)


def test_a_bug_is_told_as_one(stand_in: Path) -> None:
    install_rtx(stand_in, "return undefined")
    with pytest.raises(RuntimeError, match="NameError: name 'undefined' is not defined"):
        build(stand_in)


@pytest.fixture
def packaged(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of TensorRT-RTX's library, by the name packages have it; returns a TMPDIR."""
    package, temporary = stand_in / "tensorrt_rtx_libs", stand_in / "temporary"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "libtensorrt_rtx.so.1").symlink_to(_ctypes.__file__)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    return temporary


def test_the_loader_knows_the_library_by_the_parsers_name(stand_in: Path, packaged: Path) -> None:
    """And nothing of that lies about while a plan is built, however that ends."""
    install_rtx(
        stand_in,
        "import ctypes; ctypes.CDLL('libtensorrt_rtx.so'); "
        f"self.logger.log(0, 'temporary: ' + repr(os.listdir({str(packaged)!r}))); return False",
    )
    with pytest.raises(EngineError, match=r"refuses it: temporary: \[\]"):
        build(stand_in)


def test_it_ends_with_the_export_that_is_killed(stand_in: Path, packaged: Path) -> None:
    mark = stand_in / "pid"
    install_rtx(
        stand_in,
        f"import time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)",
    )
    program = (
        "import sys; from pathlib import Path; from tests.unit.stand_in_tensorrt import build;"
        "build(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{stand_in}{os.pathsep}{Path.cwd()}"}
    with subprocess.Popen([sys.executable, "-c", program, stand_in], env=environment) as parent:
        wait_for(lambda: mark.exists() and mark.read_text() != "")
        parent.kill()
    child = int(mark.read_text())
    wait_for(lambda: not Path(f"/proc/{child}").exists())
    assert list(packaged.iterdir()) == []


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)
