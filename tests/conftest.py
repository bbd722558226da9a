"""What holds for all tests."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.parity.cases import CASES

# Whatever a shell starts in the background ignores Ctrl-C, and so would the commands under test.
signal.signal(signal.SIGINT, signal.default_int_handler)


_END_TO_END, _TENSORRT = "tests/end_to_end", "tests/tensorrt"
_SHARED = {
    f"{_END_TO_END}/test_c_layer.py": "libdeltaport",
    f"{_END_TO_END}/test_c_snapshots.py": "libdeltaport",
    f"{_END_TO_END}/test_cpp_hosts.py": "libdeltaport",
    f"{_END_TO_END}/test_embedding_page.py": "libdeltaport",
    f"{_TENSORRT}/test_cuda_library.py": "plugins",
    f"{_TENSORRT}/test_plans.py": "plugins",
    f"{_TENSORRT}/test_tensorrt_rtx.py": "plugins",
}
"""Files of tests that need what takes a minute to compile, by what that is."""


def process_of(nodeid: str) -> str:
    """Where several processes run the tests, those for which this is the same share one.

    They share what is slow to make: the tests of a file, those of parity with a checkpoint, and
    those that compile the same.
    """
    file = nodeid.split("::")[0]
    if file in _SHARED or file.startswith(_TENSORRT):
        return _SHARED.get(file, "plugins on the host")
    if not file.startswith("tests/parity/"):
        return file
    # A test's id has the names of its parameters with dashes between.
    places = [f"{before}{{}}{after}" for before in "[-" for after in "-]"]
    names = [case.name for case in CASES if any(p.format(case.name) in nodeid for p in places)]
    return f"parity {max(names, key=len)}" if names else file


@pytest.fixture(scope="session")
def compiled(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for what ``made_once`` makes: one for all processes that run these tests."""
    base = tmp_path_factory.getbasetemp()
    is_one_of_several = hasattr(pytestconfig, "workerinput")
    folder = (base.parent if is_one_of_several else base) / "compiled"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return process_of(nodeid)

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from tests.parity.table import write_table  # it loads our kernels, to know what they run on

    write_table(terminalreporter)
