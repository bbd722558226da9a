"""Weights of an engine are mapped: memory grows by what is touched, and processes share it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deltaport.exporter.export import export_checkpoint
from tests.checkpoints import save_checkpoint

ROWS, WIDTH = 120_000, 128
TABLE = ROWS * WIDTH * 9 // 16
"""Bytes of the embedding, and of the head, in 4 bits and blocks of 32."""

OPENED = """
import json, sys
from pathlib import Path
from deltaport.runtime import Engine

def mapped():
    found = {"Rss": 0, "Pss": 0, "Private_Dirty": 0}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if " " in name:  # the first line of a mapping
            inside = line.endswith("decoder.onnx.data")
        elif inside and name in found:
            found[name] += int(value.split()[0]) * 1024
    return found

engine = Engine.open(sys.argv[1], threads=1)
session = engine.session(context=8)
for command in sys.stdin:
    if command == "step\\n":
        session.prefill([[1, 2, 3]])
        session.clear(0)
    print(json.dumps(mapped()), flush=True)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of which nearly all are two tables of 4 bits."""
    folder = tmp_path_factory.mktemp("tables")
    save_checkpoint(
        folder / "checkpoint", kind="dense", num_hidden_layers=1, layer_types=["full_attention"],
        vocab_size=ROWS, hidden_size=WIDTH,
    )  # fmt: skip
    export_checkpoint(folder / "checkpoint", folder / "engine", target="ort-cpu", quantize="int4")
    assert (folder / "engine" / "decoder.onnx.data").stat().st_size > 2 * TABLE
    return folder / "engine"


class Opened:
    """Another process that has the engine open."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, command: str) -> dict[str, Any]:
        """What of the file of weights is in its memory then, in bytes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def opened(engine: Path) -> Iterator[Opened]:
    process = subprocess.Popen(
        [sys.executable, "-c", OPENED, str(engine)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        yield Opened(process)
        assert process.stdin is not None
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="a file of Linux")
def test_memory_grows_by_what_is_touched_and_is_shared(engine: Path) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(opened(engine)) for _ in range(2))
        assert one("look")["Rss"] < TABLE / 4
        alone = one("step")
        # The head was read whole, of the embedding three rows and what the system reads ahead.
        assert TABLE < alone["Rss"] < 1.5 * TABLE
        assert one("step")["Rss"] == alone["Rss"]
        other("step")
        shared = one("look")
        assert shared["Rss"] == alone["Rss"]
        assert shared["Pss"] < 0.6 * alone["Rss"]
        assert shared["Private_Dirty"] == 0
