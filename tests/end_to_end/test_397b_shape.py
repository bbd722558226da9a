"""The 397B-A17B shape: compiled in little memory, and described from its config.json alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configs import CONFIG_397B

# In a process of its own, so that its peak memory is the compiler's and nobody else's.
COMPILE = """
import json, re, sys, time
from pathlib import Path
import ml_dtypes, numpy, torch
from deltaport.exporter.bind_weights import bind_weights
from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.trace import trace
from deltaport.graph_passes.decoder_layout import layout_of
from deltaport.graph_passes.pipeline import default_pipeline
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.target_capabilities import TARGETS

started = time.perf_counter()
spec = ModelSpec.from_checkpoint(Path(sys.argv[1]))
bf16 = numpy.dtype(ml_dtypes.bfloat16)
shapes = parameter_shapes(spec)
traced = trace(spec, dict.fromkeys(shapes, bf16))
bind_weights(traced.graph, {name: Source(name, shape, bf16) for name, shape in shapes.items()})
report = {"trace": time.perf_counter() - started, "state": len(layout_of(traced)), "targets": {}}
for name, target in TARGETS.items():
    model = traced.clone()
    started = time.perf_counter()
    model = default_pipeline(target)(model).model
    report["targets"][name] = time.perf_counter() - started
    weights = [value.const_value for value in model.graph.initializers.values()]
    weights = [tensor for tensor in weights if isinstance(tensor, RecipeTensor)]
    assert sum(tensor.nbytes for tensor in weights) >= 2 * 396.3e9 * 0.99, name
report["gb"] = sum(value.const_value.nbytes for value in traced.graph.initializers.values()) / 1e9
status = Path("/proc/self/status").read_text()
report["peak_mib"] = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
print(json.dumps(report))
"""


@pytest.mark.slow
def test_compiling_is_quick_and_small(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG_397B))
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(run.stdout.splitlines()[-1])
    print(figures)
    assert figures["gb"] == pytest.approx(2 * 396.3, rel=0.01)  # two bytes a parameter
    assert figures["state"] == 2 * CONFIG_397B["num_hidden_layers"]
    assert figures["trace"] <= 120
    targets = {"portable", "ort-cpu", "ort-cuda", "tensorrt", "tensorrt-plain"}
    assert set(figures["targets"]) == targets
    assert max(figures["targets"].values()) <= 60
    assert figures["peak_mib"] <= 1536


def test_inspect_needs_nothing_but_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG_397B))
    command = [sys.executable, "-m", "deltaport", "inspect", str(tmp_path), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    assert report["parameters"]["total"] == pytest.approx(397e9, rel=0.01)
    assert report["parameters"]["active"] == pytest.approx(17e9, rel=0.05)
