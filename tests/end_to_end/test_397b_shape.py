"""The 397B-A17B shape: traced in little memory, and described from its config.json alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configs import CONFIG_397B

# In a process of its own, so that its peak memory is the trace's and nobody else's.
TRACE = """
import json, re, sys, time
from pathlib import Path
started = time.perf_counter()
import torch
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.trace import trace
spec = ModelSpec.from_checkpoint(Path(sys.argv[1]))
model, layout = trace(spec, lambda name: torch.bfloat16)
seconds = time.perf_counter() - started
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
weights = sum(value.const_value.nbytes for value in model.graph.initializers.values())
print(json.dumps(dict(seconds=seconds, peak_mib=peak / 1024, gb=weights / 1e9, state=len(layout))))
"""


@pytest.mark.slow
def test_trace_is_quick_and_small(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG_397B))
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRACE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(run.stdout.splitlines()[-1])
    print(figures)
    assert figures["gb"] == pytest.approx(2 * 396.3, rel=0.01)  # two bytes a parameter
    assert figures["state"] == 2 * CONFIG_397B["num_hidden_layers"]
    assert figures["seconds"] <= 120
    assert figures["peak_mib"] <= 1536


def test_inspect_needs_nothing_but_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG_397B))
    command = [sys.executable, "-m", "deltaport", "inspect", str(tmp_path), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    assert report["parameters"]["total"] == pytest.approx(397e9, rel=0.01)
    assert report["parameters"]["active"] == pytest.approx(17e9, rel=0.05)
