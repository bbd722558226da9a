"""Plans that TensorRT builds for the GPU of this machine, run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deltaport.runtime.tensorrt_library import PLUGINS_VARIABLE
from tests.gpu import require_gpu
from tests.gpu.parity import CHECKPOINTS, Record, export, make_checkpoint, verify
from tests.tensorrt.cuda_library import plugin_library

PLAIN, PLUGINS = "tensorrt-plain", "tensorrt"
# In float32 they are as exact as any engine. Heads of 256 have no kernels in it.
CASES: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in CHECKPOINTS]
CASES += [("mixture", ("--dtype", "float32"))]
CASES += [(name, ("--quantize", "int4")) for name in ("mixture", "dense")]


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs plans, with plugins or without, and has them."""
    capability = require_gpu().architecture.removeprefix("sm_")
    found = plugin_library(tmp_path_factory.mktemp("plugins"), capability)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLUGINS_VARIABLE, str(found))
        yield


@pytest.mark.parametrize("target", [PLAIN, PLUGINS])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_parity(
    name: str,
    options: tuple[str, ...],
    target: str,
    tmp_path: Path,
    record_property: Record,
) -> None:
    checkpoint, engine = make_checkpoint(name, tmp_path), tmp_path / "engine"
    export(checkpoint, engine, target, *options)
    verify(engine, checkpoint, record_property)
