"""A driver of a GPU that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simt.fake_gpu import fake_driver


@pytest.fixture(scope="session")
def driver(compiled: Path) -> Path:
    return fake_driver(compiled)
