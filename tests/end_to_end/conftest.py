"""One small checkpoint and its engine for all tests: an export takes ten seconds."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.checkpoints import save_checkpoint
from tests.end_to_end.command import deltaport


@dataclass(frozen=True)
class Exported:
    folder: Path
    result: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts in four layers, with a tokenizer and tensors nobody exports."""
    folder = tmp_path_factory.mktemp("small") / "checkpoint"
    return save_checkpoint(folder, kind="moe", wrapped=True, mtp_tensors=2, tokenizer=True)


@pytest.fixture(scope="session")
def single_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that is quickest to export."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    return save_checkpoint(
        folder, kind="dense", num_hidden_layers=1, layer_types=["full_attention"]
    )


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The engine of ``checkpoint``, and what exporting it printed."""
    folder = tmp_path_factory.mktemp("exported") / "small engine"
    return Exported(folder, deltaport("export", checkpoint, "-o", folder))


@pytest.fixture(scope="session")
def engine(exported: Exported) -> Path:
    """The engine of ``checkpoint``; not to be written to."""
    assert exported.result.returncode == 0, exported.result.stderr
    return exported.folder


@pytest.fixture
def altered(engine: Path, tmp_path: Path) -> Path:
    """A copy of the engine to alter."""
    return Path(shutil.copytree(engine, tmp_path / "input" / "engine"))
