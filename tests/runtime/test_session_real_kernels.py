"""Whatever is done to the rows of a session, our kernels give each the bits it gets alone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Engine, SamplingParams, Session, Snapshot
from tests.checkpoints import VOCAB_SIZE, save_checkpoint

Call = tuple[bool, list[int]]
"""Whether to generate, and what to append."""


@dataclass
class Trace:
    """All that was done to a row since it was empty, and all that it said."""

    calls: list[Call] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    def copy(self) -> Trace:
        return Trace([*self.calls], [*self.answers])


TRACED = SamplingParams(max_new_tokens=4, ignore_eos=True, logprobs=3)
CHUNK = 5


def perform(session: Session, traces: dict[int, Trace], calls: dict[int, Call]) -> None:
    """Calls, all of the same kind, one per row."""
    rows = range(session.sequences)
    given = [calls[row][1] if row in calls else None for row in rows]
    answers: list[Any]
    if any(generate for generate, _ in calls.values()):
        done = session.generate(given, TRACED, chunk_size=CHUNK)
        answers = [(found.tokens, found.logprobs, found.top_logprobs) for found in done]
    else:
        answers = [
            None if found is None else (found.tobytes(), int(found[-1].argmax()))
            for found in session.prefill(given, chunk_size=CHUNK, logits="all")
        ]
    for row, call in calls.items():
        traces[row].calls.append(call)
        traces[row].answers.append(answers[row])


def replayed(engine: Engine, trace: Trace) -> Trace:
    alone = {0: Trace()}
    with engine.session() as session:
        for call in trace.calls:
            perform(session, alone, {0: call})
    return alone[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("small")
    checkpoint = save_checkpoint(folder / "checkpoint", seed=3)
    export_checkpoint(checkpoint, folder / "engine", target="ort-cpu")
    return Engine.open(folder / "engine", threads=2)


def test_our_kernels_give_a_row_the_same_bits_whoever_is_beside_it(small: Engine) -> None:
    chance = random.Random(2)
    session = small.session(4)
    traces = {row: Trace() for row in range(4)}
    snapshots: list[tuple[Snapshot, Trace]] = []
    finished: list[Trace] = []

    def prompt() -> list[int]:
        return [chance.randrange(VOCAB_SIZE) for _ in range(chance.randint(1, 18))]

    for _ in range(150):
        row = chance.choice([*traces])
        match chance.choice(["open", "fork", "snapshot", "restore", "close", *["run"] * 8]):
            case "open" if len(traces) < 12:
                traces[session.open_row()] = Trace()
            case "fork" if len(traces) < 12:
                traces[session.fork(row)] = traces[row].copy()
            case "snapshot":
                snapshots.append((session.snapshot(row), traces[row].copy()))
            case "restore" if snapshots:
                snapshot, trace = chance.choice(snapshots)
                finished.append(traces[row])
                session.restore(row, snapshot)
                traces[row] = trace.copy()
            case "close" if len(traces) > 6:
                session.close_row(row)
                finished.append(traces.pop(row))
            case "run":
                generate, calls = chance.random() < 0.3, dict[int, Call]()
                for at in chance.sample([*traces], chance.randint(1, len(traces))):
                    trace = traces[at]
                    said = None if not trace.calls or trace.calls[-1][0] else trace.answers[-1][1]
                    again = chance.random() < 0.3
                    calls[at] = generate, [said] if said is not None and not again else prompt()
