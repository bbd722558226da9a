"""A whole benchmark of an engine folder, and what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deltaport.bench.decode_traffic import DecodeTraffic
from deltaport.bench.memory_bandwidth import bandwidth_in_new_process
from deltaport.bench.process_memory import ProcessMemory
from deltaport.bench.rounds import Load, Round, check_fits, run_round
from deltaport.bench.spread import Spread
from deltaport.exporter.model_spec import ModelSpec
from deltaport.graph_passes.target_capabilities import reads_as_stored
from deltaport.package import MANIFEST_NAME
from deltaport.runtime import Engine
from deltaport.threads import available_threads

__all__ = ["BenchEvents", "Result", "measure"]

_NOISY = 0.1
"""Quartiles further apart than this share of the median are worth a warning."""


@dataclass(frozen=True)
class BenchEvents:
    """Hooks for whoever shows progress: stages by name, rounds to come, a round done."""

    stage: Callable[[str], None] = lambda _: None
    rounds: Callable[[int], None] = lambda _: None
    done: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class Result:
    """What was measured, over the rounds that count.

    ``bandwidth`` is the machine's, in bytes per second; None where it could not be measured, and
    for an engine ``on_gpu``, which reads other memory. ``threads`` is None where onnxruntime took
    one a core.
    """

    load: Load
    threads: int | None
    load_seconds: float
    rounds: tuple[Round, ...]
    traffic: DecodeTraffic
    bandwidth: float | None
    on_gpu: bool

    @property
    def first_token(self) -> Spread:
        """Seconds to the first token of a fresh session."""
        return Spread.of([one.first_token for one in self.rounds])

    @property
    def prefill(self) -> Spread:
        """Prompt tokens per second, of all sequences together."""
        tokens = self.load.sequences * self.load.prompt_tokens
        return Spread.of([tokens / one.prefill for one in self.rounds])

    @property
    def decode(self) -> Spread:
        """New tokens per second after the first, of all sequences together."""
        sequences = self.load.sequences
        return Spread.of([sequences * len(one.steps) / sum(one.steps) for one in self.rounds])

    @property
    def step(self) -> Spread:
        """Seconds of a decode step, over the steps of all rounds."""
        return Spread.of([seconds for one in self.rounds for seconds in one.steps])

    @property
    def memory(self) -> ProcessMemory:
        """That of this process, at the end of the last round."""
        return self.rounds[-1].memory

    @property
    def read_rate(self) -> float:
        """Bytes per second a decode step reads at least, by the median of the rounds."""
        return self.traffic.total * self.decode.median

    @property
    def share(self) -> float | None:
        """Of the machine's bandwidth; above 1 where weights stay in the processor's caches."""
        return None if self.bandwidth is None else self.read_rate / self.bandwidth

    def notes(self) -> list[str]:
        """What to keep in mind when reading the figures."""
        notes = []
        figures = {"time to first token": self.first_token, "decode": self.decode}
        name, worst = max(figures.items(), key=lambda figure: figure[1].relative)
        if worst.relative > _NOISY:
            notes.append(
                f"the rounds differ ({name}: {100 * worst.relative:.0f} % between the quartiles); "
                "close what else keeps this machine busy, or raise --repeat"
            )
        if self.on_gpu:
            notes.append("memory is that of this process, without what it has on the GPU")
        elif self.bandwidth is None:
            notes.append("the machine's bandwidth could not be measured")
        elif self.read_rate > self.bandwidth:
            notes.append(
                "more is read than memory delivers: part of the weights stays in the processor's "
                "caches"
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: seconds, bytes, tokens and bytes per second."""
        return {
            "load": asdict(self.load),
            "threads": self.threads,
            "repeat": len(self.rounds),
            "load_seconds": self.load_seconds,
            "first_token_seconds": self.first_token.to_json(),
            "prefill_tokens_per_second": self.prefill.to_json(),
            "decode_tokens_per_second": self.decode.to_json(),
            "decode_step_seconds": self.step.to_json(),
            "memory": asdict(self.memory),
            "bytes_read_per_token": self.traffic.to_json(),
            "bandwidth": {
                "read": self.read_rate,
                "machine": self.bandwidth,
                "share": self.share,
            },
            "notes": self.notes(),
        }


def measure(
    folder: Path,
    load: Load,
    *,
    dtypes_of: Callable[[Engine, ModelSpec], Mapping[str, str]],
    repeat: int,
    threads: int | None = None,
    checksums: bool = True,
    events: BenchEvents | None = None,
) -> Result:
    """Open the engine in ``folder`` and run ``load`` ``repeat`` times, and once before to warm up.

    The machine's bandwidth is measured before and after, with as many threads, and the larger one
    counts; not for a plan, which runs on a GPU. ``dtypes_of`` says how an engine stores its
    parameters. Raises a ``DeltaportError``.
    """
    events = events or BenchEvents()
    used = threads or available_threads()
    events.stage("loading the engine")
    start = time.perf_counter()
    engine = Engine.open(folder, threads=threads, checksums=checksums)
    load_seconds = time.perf_counter() - start
    check_fits(load, engine)
    spec = ModelSpec.from_json(engine.manifest.model, source=str(folder / MANIFEST_NAME))

    on_gpu = engine.manifest.plan is not None
    before = after = None
    if not on_gpu:
        events.stage("measuring the machine's memory")
        before = bandwidth_in_new_process(used)
    events.stage("warming up")
    run_round(engine, load)
    events.stage("measuring the engine")
    events.rounds(repeat)
    rounds = []
    for _ in range(repeat):
        rounds.append(run_round(engine, load))
        events.done(1)
    if not on_gpu:
        events.stage("measuring the machine's memory again")
        after = bandwidth_in_new_process(used)
    # Only now: reading the graph loads libraries, which must not count as memory of the engine.
    dtypes = dtypes_of(engine, spec)
    return Result(
        load=load,
        threads=threads,
        load_seconds=load_seconds,
        rounds=tuple(rounds),
        traffic=DecodeTraffic.of(
            spec,
            dtypes,
            sequences=load.sequences,
            length=load.length(),
            as_stored=reads_as_stored(engine.manifest.target),
        ),
        bandwidth=_larger(before, after),
        on_gpu=on_gpu,
    )


def _larger(*measured: float | None) -> float | None:
    return max((rate for rate in measured if rate is not None), default=None)
