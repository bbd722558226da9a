"""What several tests of small things share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where Python looks first, for modules called as TensorRT's are."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path
