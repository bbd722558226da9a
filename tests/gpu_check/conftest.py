"""A driver of a GPU that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simt.fake_gpu import fake_driver


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver(tmp_path_factory.mktemp("driver"))
