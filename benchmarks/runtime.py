"""What the runtime adds to a step, and what a batch of sequences gains.

The engine has the shape of a dense model of 0.8 billion parameters (1024 wide, 24 layers,
feed-forward 3584, tied head of 248,320) and random weights in bf16; checkpoint and engine are made
in --work on the first run, 3 GB in all, and used again.

    python -m benchmarks.runtime --work /tmp/dense

Overheads are microseconds a step outside of onnxruntime, medians: greedy generation by the native
loop, the choice of tokens included or not, and by the Python API beside it. Decoding is tokens a
second of all rows. ``peer`` is the bound that was set, or one row; rounds take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.head_sizes import HEADS
from benchmarks.report import Row, print_table, write_json
from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Engine, Generation, SamplingParams, Session, Snapshot
from tests.checkpoints import save_checkpoint

ENDLESS = SamplingParams(max_new_tokens=None, ignore_eos=True, detokenize=False)
PROMPT = [11, 7, 5, 3]
ROWS = (1, 2, 8)
SHAPE: dict[str, Any] = {
    "kind": "dense",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "intermediate_size": 3584,
    "vocab_size": 248_320,
    "max_position_embeddings": 131_072,
    "tie": True,
    "linear_num_key_heads": 16,
    **HEADS,
}


def prepare(work: Path, **overrides: Any) -> Path:
    """The engine's folder; made where it is not there. ``overrides`` replace fields of SHAPE."""
    import torch

    work.mkdir(parents=True, exist_ok=True)
    checkpoint, engine = work / "checkpoint", work / "engine"
    if not (checkpoint / "config.json").exists():
        save_checkpoint(checkpoint, wrapped=True, dtype=torch.bfloat16, **(SHAPE | overrides))
    if not engine.exists():
        export_checkpoint(checkpoint, engine, target="ort-cpu", dtype="bfloat16")
    return engine


class Rows:
    """Sequences that are decoded together for as long as anybody wants, after ``past``."""

    def __init__(self, engine: Engine, rows: int, past: Snapshot | None = None) -> None:
        self.session = Session(engine, rows)
        self.generation = Generation(self.session)
        for row in range(rows):
            if past is not None:
                self.session.restore(row, past)
            self.generation.start(row, PROMPT, ENDLESS)
        self.generation.step()

    def seconds(self, steps: int) -> float:
        """Of ``steps`` steps by the Python API."""
        start = time.perf_counter()
        for _ in range(steps):
            self.generation.step()
        return time.perf_counter() - start

    def overheads(self) -> tuple[float, float, float]:
        """Microseconds of a step outside of onnxruntime, each of a step of its own.

        By the native loop without and with the choice of tokens, and by the Python API.
        """
        native, session = self.generation._native, self.session.native
        before, start = session.run_nanoseconds(), time.perf_counter_ns()
        native.run()
        ran = time.perf_counter_ns() - start - (session.run_nanoseconds() - before)
        for row in native.ready():
            native.go_on(row, native.pick(row, None))
        return ran / 1e3, self._overhead(native.step), self._overhead(self.generation.step)

    def _overhead(self, step: Any) -> float:
        session = self.session.native
        before, start = session.run_nanoseconds(), time.perf_counter_ns()
        step()
        return (time.perf_counter_ns() - start - (session.run_nanoseconds() - before)) / 1e3


def overhead_rows(batches: dict[int, Rows], rounds: int) -> Iterator[Row]:
    """Rows of what a step adds."""
    found: dict[int, list[tuple[float, float, float]]] = {rows: [] for rows in batches}
    for _ in range(rounds):
        for rows, batch in batches.items():
            found[rows].append(batch.overheads())
    for i, kind in enumerate(("run and commit", "and choice of tokens", "by the Python API")):
        for rows in batches:
            median = statistics.median(each[i] for each in found[rows])
            bound = 30.0 + 5.0 * (rows - 1)
            yield Row(f"microseconds, {kind}, rows={rows}", median, bound, bound / median)


def decode_rows(batches: dict[int, Rows], rounds: int, steps: int) -> Iterator[Row]:
    """Rows of what a batch gains."""
    rates: dict[int, list[float]] = {rows: [] for rows in batches}
    for _ in range(rounds):
        for rows, batch in batches.items():
            rates[rows].append(rows * steps / batch.seconds(steps))
    alone = statistics.median(rates[1])
    for rows in batches:
        rate = statistics.median(rates[rows])
        yield Row(f"tokens/s, decode, rows={rows}", rate, alone, rate / alone)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for 3 GB, kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12, help="steps a turn of decoding")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    given = parser.parse_args()
    engine = Engine.open(prepare(given.work), threads=given.threads, checksums=False)
    batches = {rows: Rows(engine, rows) for rows in ROWS}
    rows = [
        *overhead_rows(batches, 3 * given.rounds),
        *decode_rows(batches, given.rounds, given.steps),
    ]
    print_table(rows)
    if given.json is not None:
        write_json(rows, given.json)


if __name__ == "__main__":
    main()
