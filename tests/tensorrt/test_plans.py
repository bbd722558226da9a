"""Plans that TensorRT-RTX builds of whole decoders, with our plugins and without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltaport.package import Manifest, open_package
from tests.end_to_end.command import deltaport
from tests.gpu.parity import make_checkpoint
from tests.tensorrt.rtx import plan_gpus, require_rtx


@pytest.fixture(scope="module", params=os.environ.get("PLAN_CHECKPOINTS", "mixture").split())
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(request.param, tmp_path_factory.mktemp("small"))


def build(checkpoint: Path, folder: Path, gpu: str, *options: object) -> Manifest:
    require_rtx()
    done = deltaport("export", checkpoint, "-o", folder, "--gpu", gpu, *options, "--quiet")
    assert done.returncode == 0, done.stderr
    manifest = open_package(folder, checksums=True)
    assert manifest.plan is not None
    assert manifest.plan.gpu == gpu
    assert manifest.plan.builder.startswith("TensorRT-RTX 1.")
    return manifest


@pytest.mark.parametrize("gpu", plan_gpus())
def test_plain_plans(checkpoint: Path, tmp_path: Path, gpu: str) -> None:
    sizes = ("--slots", 3, "--prefill-tokens", 500, "--context", 1000)
    manifest = build(checkpoint, tmp_path / "engine", gpu, "--target", "tensorrt-plain", *sizes)
    assert {each.update for each in manifest.state if each.kind == "kv"} == {"in_place"}
    plan = manifest.plan
    assert plan is not None
    assert (plan.slots, plan.prefill_tokens, plan.capacity) == (3, 500, 1000)


@pytest.mark.parametrize("gpu", plan_gpus())
def test_plans_with_plugins(checkpoint: Path, cuda_library: Path, tmp_path: Path, gpu: str) -> None:
    options = ("--target", "tensorrt", "--plugins", cuda_library)
    manifest = build(checkpoint, tmp_path / "engine", gpu, *options)
    assert {each.update for each in manifest.state} == {"in_place"}


def test_a_library_without_our_plugins_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    require_rtx()
    library = tmp_path / "libother.so"
    library.write_bytes(b"no library")
    options = ("--target", "tensorrt", "--gpu", "sm89", "--plugins", library)
    done = deltaport("export", checkpoint, "-o", tmp_path / "engine", *options)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        f"--plugins {library}: TensorRT-RTX cannot load it"
    )
    assert not (tmp_path / "engine").exists()


def test_a_gpu_that_rtx_does_not_build_for(checkpoint: Path, tmp_path: Path) -> None:
    require_rtx()
    options = ("--target", "tensorrt-plain", "--gpu", "sm90")
    done = deltaport("export", checkpoint, "-o", tmp_path / "engine", *options)
    assert done.returncode == 2
    assert "--gpu sm90: TensorRT-RTX" in done.stderr
