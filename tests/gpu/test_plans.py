"""Plans that TensorRT builds for the GPU of this machine, run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deltaport.runtime.tensorrt_library import PLUGINS_VARIABLE
from tests.end_to_end.command import deltaport
from tests.gpu import require_gpu
from tests.gpu.parity import CHECKPOINTS, Record, export, make_checkpoint, verify
from tests.tensorrt.cuda_library import plugin_library

PLAIN, PLUGINS = "tensorrt-plain", "tensorrt"
# In float32 they are as exact as any engine. Heads of 256 have no kernels in it.
CASES: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in CHECKPOINTS]
CASES += [("mixture", ("--dtype", "float32"))]
CASES += [
    (name, ("--quantize", recipe)) for name in ("mixture", "dense") for recipe in ("int4", "int8")
]
FP8 = ("--quantize", "fp8")
FP8_FROM = (8, 9)
"""The compute capability from which GPUs have it."""
OFFSETS = """
[roles]
lm_head = "int8"
experts = "int4 block=32 asymmetric"
shared_expert = "int4 block=32 asymmetric"
"""


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


@pytest.mark.parametrize("target", [PLAIN, PLUGINS])
@pytest.mark.parametrize("name", ["mixture", "dense"])
def test_parity_in_fp8(name: str, target: str, tmp_path: Path, record_property: Record) -> None:
    """Or that a GPU without it is refused."""
    checkpoint, engine, gpu = make_checkpoint(name, tmp_path), tmp_path / "engine", require_gpu()
    if gpu.capability >= FP8_FROM:
        export(checkpoint, engine, target, *FP8)
        verify(engine, checkpoint, record_property)
        return
    done = deltaport("export", checkpoint, "-o", engine, "--target", target, *FP8, timeout=1800)
    assert done.returncode == 2
    assert "weights in fp8 take a GPU of sm89 or newer" in done.stderr


def test_parity_of_experts_with_offsets(tmp_path: Path, record_property: Record) -> None:
    """Which plugins alone have."""
    checkpoint, engine = make_checkpoint("mixture", tmp_path), tmp_path / "engine"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(OFFSETS)
    export(checkpoint, engine, PLUGINS, "--quantize", recipe)
    verify(engine, checkpoint, record_property)
