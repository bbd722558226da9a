"""Plans run by programs in C."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.end_to_end.c_layer import OK, load, open_session, prefill
from tests.end_to_end.cpp_programs import ROOT, build, run, succeed
from tests.runtime.toy_engine import toy_logits
from tests.tensorrt.fake_plans import FakeTensorRt
from tests.tensorrt.planned_toy import CAPACITY, write_planned_toy

pytestmark = pytest.mark.slow  # it builds libdeltaport


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libdeltaport")
    switches = ("-DDELTAPORT_PYTHON=OFF", "-DDELTAPORT_NATIVE_KERNELS=OFF")
    built = build(ROOT, folder / "build", *switches)
    succeed("cmake", "--install", built, "--prefix", folder / "prefix")
    return folder / "prefix"


def test_a_plan_found_by_the_environment(
    installed: Path, fake_tensorrt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tensorrt.use(monkeypatch)
    library = load(installed)
    session = open_session(library, write_planned_toy(tmp_path, slots=2), 2, CAPACITY - 16)
    status, logits = prefill(library, session, (0, [3, 1, 4]), (1, [2]))
    assert status == OK, library.deltaport_last_error()
    expected = [*toy_logits([3, 1, 4])[-1], *toy_logits([2])[-1]]
    assert logits == expected
    assert library.deltaport_session_close(session) == OK


def test_a_library_beside_libdeltaport(
    installed: Path, fake_tensorrt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tensorrt.use(monkeypatch)
    monkeypatch.delenv("DELTAPORT_TENSORRT_PLUGINS")
    engine = write_planned_toy(tmp_path, slots=1)
    # A process of its own: this one may have libdeltaport loaded from elsewhere.
    program = (
        "import ctypes, sys; c = ctypes.CDLL(sys.argv[1]); e = ctypes.c_void_p();"
        "c.deltaport_last_error.restype = ctypes.c_char_p;"
        "print(c.deltaport_engine_open(sys.argv[2].encode(), None, ctypes.byref(e)),"
        " c.deltaport_last_error().decode())"
    )
    arguments = ("-c", program, installed / "lib" / "libdeltaport.so", engine)
    without = run(Path(sys.executable), *arguments)
    assert f"{installed / 'lib' / 'libdeltaport_tensorrt.so'}: cannot be loaded" in without.stdout
    (installed / "lib" / "libdeltaport_tensorrt.so").symlink_to(fake_tensorrt.ours)
    assert run(Path(sys.executable), *arguments).stdout == "0 \n"
