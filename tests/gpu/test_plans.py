"""Plans that TensorRT builds for the GPU of this machine, run on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gpu import require_gpu
from tests.gpu.parity import CHECKPOINTS, Record, export, make_checkpoint, verify
from tests.tensorrt.cuda_library import PLUGINS_VARIABLE, build_cuda_library


@pytest.fixture(scope="module", params=CHECKPOINTS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(request.param, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    capability = require_gpu().architecture.removeprefix("sm_")
    return build_cuda_library(tmp_path_factory.mktemp("plugins"), capability)


def test_plain(checkpoint: Path, tmp_path: Path, record_property: Record) -> None:
    export(checkpoint, tmp_path / "engine", "tensorrt-plain")
    verify(tmp_path / "engine", checkpoint, record_property)


def test_plugins(
    checkpoint: Path,
    plugins: Path,
    tmp_path: Path,
    record_property: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PLUGINS_VARIABLE, str(plugins))
    export(checkpoint, tmp_path / "engine", "tensorrt")
    verify(tmp_path / "engine", checkpoint, record_property)
