"""The 397B-A17B shape: traced in little memory, and described from its config.json alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONFIG: dict[str, Any] = {
    "model_type": "qwen3_5_moe_text",
    "architectures": ["Qwen3_5MoeForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 60,
    "full_attention_interval": 4,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 1024,
    "shared_expert_intermediate_size": 1024,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 64,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "vocab_size": 248320,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "max_position_embeddings": 262144,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000000,
        "partial_rotary_factor": 0.25,
        "mrope_section": [11, 11, 10],
        "mrope_interleaved": True,
    },
}

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
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRACE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(run.stdout.splitlines()[-1])
    print(figures)
    assert figures["gb"] == pytest.approx(2 * 396.3, rel=0.01)  # two bytes a parameter
    assert figures["state"] == 2 * CONFIG["num_hidden_layers"]
    assert figures["seconds"] <= 120
    assert figures["peak_mib"] <= 1536


def test_inspect_needs_nothing_but_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    command = [sys.executable, "-m", "deltaport", "inspect", str(tmp_path), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    assert report["parameters"]["total"] == pytest.approx(397e9, rel=0.01)
    assert report["parameters"]["active"] == pytest.approx(17e9, rel=0.05)
