from __future__ import annotations

import pytest

from deltaport.runtime import Engine
from tests.runtime.toy_engine import write_toy


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.open(write_toy(tmp_path_factory.mktemp("toy") / "engine"), threads=1)
