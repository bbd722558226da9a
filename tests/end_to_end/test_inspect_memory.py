"""What ``inspect`` says an engine needs, and what it then takes."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deltaport.cli import memory_facts
from deltaport.cli.facts import gather
from deltaport.cli.formatting import format_bytes
from deltaport.cli.memory_facts import Demand
from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Engine
from tests.checkpoints import VOCAB_SIZE, save_checkpoint
from tests.end_to_end.command import deltaport, error_line, in_process


def predicted(engine: Path, context: int | None, sequences: int) -> dict[str, Any]:
    memory: dict[str, Any] = gather(engine, demand=Demand(context, sequences))["memory"]
    return memory


@pytest.mark.parametrize(
    ("context", "sequences"), [(100, 1), (256, 1), (300, 1), (513, 1), (200, 2), (600, 3)]
)
def test_state_is_what_a_full_session_holds(engine: Path, context: int, sequences: int) -> None:
    memory = predicted(engine, context, sequences)
    session = Engine.open(engine, threads=2).session(sequences, context=context)
    prompts = np.random.default_rng(context).integers(0, VOCAB_SIZE, (sequences, context))
    session.prefill(prompts.tolist())
    assert session.lengths == [context] * sequences
    held = dict.fromkeys(memory["state"], 0)
    planes = 0
    for tensor in session.state.layout:
        once = tensor.kind == "kv" and tensor.update == "in_place"
        held[tensor.kind] += (1 if once else 2) * session.state[tensor.input].nbytes
        planes += sequences * int(tensor.shape[1]) if tensor.kind == "kv" else 0
    assert memory["state"] == held
    # Memory comes in pages, for each head of a cache its own.
    total = sum(held.values())
    assert total <= session.state.nbytes <= total + planes * mmap.PAGESIZE
    assert memory["total"] == memory["weights"] + total


def test_the_context_has_a_sane_default(engine: Path, tmp_path: Path) -> None:
    assert predicted(engine, None, 1)["context"] == 4096, "as much as this model takes"
    for positions, expected in ((100, 100), (262144, 4096)):
        folder = tmp_path / str(positions)
        save_checkpoint(
            folder, kind="dense", num_hidden_layers=1, max_position_embeddings=positions
        )
        assert predicted(folder, None, 1)["context"] == expected
        assert predicted(folder / "config.json", positions, 1)["context"] == positions


def test_more_than_the_model_takes_is_refused(engine: Path) -> None:
    line = error_line(deltaport("inspect", engine, "--context", "4097"))
    assert line == f"error: --context 4097: {engine} takes 1 to 4096 tokens; pass a lower one"


def test_more_than_any_memory_is_refused(altered: Path) -> None:
    line = error_line(in_process("inspect", altered, "--sequences", "9" * 4000))
    assert "larger than any memory; pass lower --sequences or --context" in line
    manifest = json.loads((altered / "manifest.json").read_text())
    manifest["state"][0]["shape"] += [2**31 - 1] * 1000
    (altered / "manifest.json").write_text(json.dumps(manifest))
    assert "larger than any memory" in error_line(in_process("inspect", altered, "--json"))


def test_what_does_not_fit_is_said(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_facts, "_available_bytes", lambda: 1_000_000)
    needed = format_bytes(predicted(engine, None, 1)["total"])
    note = f"note: this machine has 1.00 MB of memory to spare, less than the {needed} needed\n"
    assert note in in_process("inspect", engine).stdout
    monkeypatch.setattr(memory_facts, "_available_bytes", lambda: 1_000_000_000)
    assert "note:" not in in_process("inspect", engine).stdout
    monkeypatch.setattr(memory_facts, "_available_bytes", lambda: None)
    assert "note:" not in in_process("inspect", engine).stdout


def test_memory_of_this_machine() -> None:
    available = memory_facts._available_bytes()
    assert available is not None
    assert 1 << 24 < available < 1 << 50


# In a process of its own, so that memory is the engine's and nobody else's.
RESIDENT = """
import json, re, sys
from pathlib import Path
import numpy as np
from deltaport.runtime import Engine
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before = resident()
session = Engine.open(sys.argv[1], threads=1, checksums=False).session()
session.prefill([np.random.default_rng(1).permutation(4096)[:1024].tolist()], chunk_size=16)
print(json.dumps(resident() - before))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "moe"])
def test_weights_are_what_an_engine_takes(kind: Any, tmp_path: Path) -> None:
    """Stored in bf16, so that what is widened, and what is not, makes a difference."""
    large: dict[str, Any] = {
        "dense": {"intermediate_size": 8192},
        "moe": {"moe_intermediate_size": 512, "num_experts": 32, "hidden_size": 512},
    }
    checkpoint = save_checkpoint(
        tmp_path / "checkpoint",
        kind=kind,
        dtype=torch.bfloat16,
        **{"hidden_size": 1024, "num_hidden_layers": 2, "vocab_size": 4096} | large[kind],
        layer_types=["linear_attention", "full_attention"],
    )
    export_checkpoint(checkpoint, tmp_path / "engine")
    command = [sys.executable, "-c", RESIDENT, str(tmp_path / "engine")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken, memory = json.loads(done.stdout), predicted(tmp_path / "engine", 1024, 1)
    print(f"predicted {memory['total'] / 1e6:.0f} MB, taken {taken / 1e6:.0f} MB")
    # What a step computes comes on top, and what onnxruntime needs for itself: some 30 MB.
    assert 0.95 * memory["total"] < taken < 1.1 * memory["total"] + 60e6
    assert memory["total"] > 100e6
