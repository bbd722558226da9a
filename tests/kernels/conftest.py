"""Every test of an op runs on its body and on its kernels for each instruction set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deltaport.runtime.kernel_library import supported_isas
from tests.kernels.op_runner import BODY, implemented_by

ISAS = ("portable", "avx2", "avx512", "avx512vnni")


@pytest.fixture(params=[BODY, *ISAS], autouse=True)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """What runs the op under test."""
    if request.param != BODY and request.param not in supported_isas():
        pytest.skip(f"this machine has no {request.param}")
    with implemented_by(request.param):
        yield request.param
