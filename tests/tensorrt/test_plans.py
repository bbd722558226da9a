"""Plans that TensorRT-RTX builds of whole decoders, with our plugins and without."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from deltaport.package import Manifest, open_package
from tests.end_to_end.command import deltaport
from tests.gpu.parity import make_checkpoint
from tests.tensorrt.rtx import plan_gpus, require_rtx

RECIPES = (None, "int4")


@pytest.fixture(scope="module", params=os.environ.get("PLAN_CHECKPOINTS", "mixture").split())
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(request.param, tmp_path_factory.mktemp("small"))


def quantized(recipe: str | None) -> tuple[str, ...]:
    return () if recipe is None else ("--quantize", recipe)


def build(checkpoint: Path, folder: Path, gpu: str, *options: object) -> Manifest:
    require_rtx()
    done = deltaport("export", checkpoint, "-o", folder, "--gpu", gpu, *options, "--quiet")
    assert done.returncode == 0, done.stderr
    manifest = open_package(folder, checksums=True)
    assert manifest.plan is not None
    assert manifest.plan.gpu == gpu
    assert manifest.plan.builder.startswith("TensorRT-RTX 1.")
    return manifest


def calls_of(engine: Path) -> Counter[str]:
    """How often the graph calls each op, in subgraphs as well as outside."""
    model = onnx.load(str(engine / "decoder.onnx"), load_external_data=False)
    return Counter(node.op_type for node in ir.from_proto(model).graph.all_nodes())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("gpu", plan_gpus())
def test_plain_plans(checkpoint: Path, tmp_path: Path, gpu: str, recipe: str | None) -> None:
    sizes = ("--slots", 3, "--prefill-tokens", 500, "--context", 1000)
    options = ("--target", "tensorrt-plain", *sizes, *quantized(recipe))
    manifest = build(checkpoint, tmp_path / "engine", gpu, *options)
    assert {each.update for each in manifest.state if each.kind == "kv"} == {"in_place"}
    assert (manifest.quantization is None) == (recipe is None)
    assert (calls_of(tmp_path / "engine")["DequantizeLinear"] > 0) == (recipe is not None)
    plan = manifest.plan
    assert plan is not None
    assert (plan.slots, plan.prefill_tokens, plan.capacity) == (3, 500, 1000)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("gpu", plan_gpus())
def test_plans_with_plugins(
    checkpoint: Path, cuda_library: Path, tmp_path: Path, gpu: str, recipe: str | None
) -> None:
    options = ("--target", "tensorrt", "--plugins", cuda_library, *quantized(recipe))
    manifest = build(checkpoint, tmp_path / "engine", gpu, *options)
    assert {each.update for each in manifest.state} == {"in_place"}
    assert (manifest.quantization is None) == (recipe is None)
    spec, calls = manifest.model, calls_of(tmp_path / "engine")
    mixtures = spec["num_hidden_layers"] if "moe" in spec["model_type"] else 0
    assert calls["SharedExpertMoE" if recipe is None else "QuantizedSharedExpertMoE"] == mixtures


@pytest.mark.parametrize("gpu", plan_gpus())
def test_plans_with_weights_in_fp8(checkpoint: Path, tmp_path: Path, gpu: str) -> None:
    recipe = tmp_path / "all.toml"
    roles = ("lm_head", "linear_attn.in_proj", "mlp", "experts", "shared_expert")
    recipe.write_text("[roles]\n" + "".join(f'"{role}" = "fp8"\n' for role in roles))
    folder, options = tmp_path / "engine", ("--target", "tensorrt-plain", "--quantize", recipe)
    if int(gpu.removeprefix("sm")) >= 89:
        build(checkpoint, folder, gpu, *options)
        return
    done = deltaport("export", checkpoint, "-o", folder, "--gpu", gpu, *options)
    assert done.returncode == 2
    assert f"weights in fp8 take a GPU of sm89 or newer, and the plan is for {gpu}" in done.stderr


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


def test_measured_times_are_of_no_use_to_rtx(checkpoint: Path, tmp_path: Path) -> None:
    require_rtx()
    times = tmp_path / "times"
    options = ("--target", "tensorrt-plain", "--gpu", "sm89", "--timing-cache", times)
    done = deltaport("export", checkpoint, "-o", tmp_path / "engine", *options)
    assert done.returncode == 2
    assert f"--timing-cache {times}: TensorRT-RTX" in done.stderr
    assert "measures nothing when it builds" in done.stderr
    assert not times.exists()


def test_a_gpu_that_rtx_does_not_build_for(checkpoint: Path, tmp_path: Path) -> None:
    require_rtx()
    options = ("--target", "tensorrt-plain", "--gpu", "sm90")
    done = deltaport("export", checkpoint, "-o", tmp_path / "engine", *options)
    assert done.returncode == 2
    assert "--gpu sm90: TensorRT-RTX" in done.stderr
