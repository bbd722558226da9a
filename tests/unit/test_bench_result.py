"""Figures made of rounds whose times are known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deltaport.bench.decode_traffic import DecodeTraffic
from deltaport.bench.measure import Result
from deltaport.bench.process_memory import ProcessMemory
from deltaport.bench.rounds import Load, Round
from deltaport.bench.spread import Spread


def a_round(scale: float) -> Round:
    """A round of two steps; ``scale`` is how slow the machine was."""
    return Round(5 * scale, 4 * scale, (1 * scale, 3 * scale), ProcessMemory(10, int(20 * scale)))


RESULT = Result(
    load=Load(prompt_tokens=100, new_tokens=3, sequences=2, context=None),
    threads=2,
    load_seconds=1.5,
    rounds=tuple(a_round(scale) for scale in (1.0, 1.0, 2.0, 1.0, 1.0)),
    traffic=DecodeTraffic(weights=60.0, state=30, kv=10.0),
    bandwidth=400.0,
    on_gpu=False,
)


def test_rates_are_of_all_sequences_together() -> None:
    assert RESULT.first_token.median == 5
    assert RESULT.prefill.median == 2 * 100 / 4
    assert RESULT.decode.median == 2 * 2 / (1 + 3)
    assert RESULT.step == Spread(median=2.5, lower=1.0, upper=3.0)
    assert RESULT.memory == ProcessMemory(10, 20), "at the end of the last round"


def test_share_of_the_bandwidth() -> None:
    assert RESULT.traffic.total == 100
    assert RESULT.read_rate == 100 * 1.0
    assert RESULT.share == 0.25
    assert replace(RESULT, bandwidth=None).share is None


def test_one_bad_round_is_no_reason_to_worry() -> None:
    assert RESULT.notes() == []


def test_notes() -> None:
    noisy = replace(RESULT, rounds=tuple(a_round(scale) for scale in (1.0, 1.25, 2.0)))
    [note] = noisy.notes()
    # 5, 6.25 and 10 seconds: quartiles halfway between, at 5.625 and 8.125.
    assert "the rounds differ (time to first token: 40 % between the quartiles)" in note
    [note] = replace(RESULT, bandwidth=None).notes()
    assert note == "the machine's bandwidth could not be measured"
    [note] = replace(RESULT, bandwidth=99.0).notes()
    assert "stays in the processor's caches" in note


def test_json_holds_all_of_it() -> None:
    document = json.loads(json.dumps(RESULT.to_json()))
    assert document["load"] == {
        "prompt_tokens": 100,
        "new_tokens": 3,
        "sequences": 2,
        "context": None,
    }
    assert document["repeat"] == 5
    assert document["decode_step_seconds"] == {"median": 2.5, "lower": 1.0, "upper": 3.0}
    assert document["bytes_read_per_token"]["total"] == 100
    assert document["bandwidth"] == {"read": 100.0, "machine": 400.0, "share": 0.25}
    assert document["memory"] == {"resident": 10, "peak": 20}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], Spread(3, 3, 3)),
        ([1.0, 3.0], Spread(2, 1.5, 2.5)),
        ([5.0, 1.0, 3.0, 2.0, 4.0], Spread(3, 2, 4)),
    ],
)
def test_quartiles(values: list[float], expected: Spread) -> None:
    assert Spread.of(values) == expected
