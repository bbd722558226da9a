"""What holds for all tests."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.parity.cases import CASES

# Whatever a shell starts in the background ignores Ctrl-C, and so would the commands under test.
signal.signal(signal.SIGINT, signal.default_int_handler)


_LIBDELTAPORT = ("test_c_layer", "test_c_snapshots", "test_cpp_hosts", "test_embedding_page")
"""The files of tests that build libdeltaport, for a minute, and share it."""


def process_of(nodeid: str) -> str:
    """Where several processes run the tests, those for which this is the same share one.

    They share what is slow to make: the tests of a file, those of parity with a checkpoint, and
    those of libdeltaport.
    """
    file = nodeid.split("::")[0]
    if file.startswith(tuple(f"tests/end_to_end/{name}.py" for name in _LIBDELTAPORT)):
        return "libdeltaport"
    if not file.startswith("tests/parity/"):
        return file
    # A test's id has the names of its parameters with dashes between.
    places = [f"{before}{{}}{after}" for before in "[-" for after in "-]"]
    names = [case.name for case in CASES if any(p.format(case.name) in nodeid for p in places)]
    return f"parity {max(names, key=len)}" if names else file


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
