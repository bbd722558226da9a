"""``deltaport bench`` on a real, if small, engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deltaport.cli.facts import gather
from tests.end_to_end.command import deltaport, error_line, on_terminal

QUICK = ("--prompt-tokens", "20", "--new-tokens", "6", "--repeat", "3")


def test_json(engine: Path) -> None:
    options = ["--sequences", "2", "--threads", "1", "--json"]
    result = deltaport("bench", engine, *QUICK, *options)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["engine"] == str(engine)
    assert found["load"] == {
        "prompt_tokens": 20,
        "new_tokens": 6,
        "sequences": 2,
        "context": None,
    }
    assert (found["threads"], found["repeat"]) == (1, 3)
    for figure in (
        "first_token_seconds",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "decode_step_seconds",
    ):
        assert 0 < found[figure]["lower"] <= found[figure]["median"] <= found[figure]["upper"]
    # The prompt of both sequences within the time to the first token, and not much less.
    assert 40 / found["prefill_tokens_per_second"]["median"] == pytest.approx(
        found["first_token_seconds"]["median"], rel=0.5
    )
    assert found["load_seconds"] > 0
    assert 20e6 < found["memory"]["resident"] <= 1.01 * found["memory"]["peak"] < 2e9

    read, state = found["bytes_read_per_token"], gather(engine)["state"]
    assert read["state"] == state["bytes_per_sequence"]
    assert read["kv"] == (20 + 3) * state["bytes_per_token"]
    assert read["total"] == read["weights"] + read["state"] + read["kv"]
    bandwidth = found["bandwidth"]
    assert bandwidth["read"] == pytest.approx(
        read["total"] * found["decode_tokens_per_second"]["median"]
    )
    assert bandwidth["share"] == pytest.approx(bandwidth["read"] / bandwidth["machine"])
    assert found["versions"]["onnxruntime"]
    stages = [line.partition(" (")[0] for line in result.stderr.splitlines()]
    assert stages == [
        "loading the engine",
        "measuring the machine's memory",
        "warming up",
        "measuring the engine",
        "measuring the machine's memory again",
    ]


def test_tables(engine: Path) -> None:
    result = deltaport("bench", engine, *QUICK, "-q", "--no-checksums", "--context", "30")
    assert result.returncode == 0
    assert result.stderr == ""
    time = r"\d\S* (µs|ms|s)"
    for expected in (
        r"^\S.*small engine: 1 sequence of 20 \+ 6 tokens, a thread a core, 3 rounds\n",
        rf"  time to first token +{time} +{time} to {time}\n",
        r"  prefill, tokens/s +[\d,.]+ +[\d,.]+ to [\d,.]+\n",
        r"  decode, tokens/s +[\d,.]+ +[\d,.]+ to [\d,.]+\n",
        rf"  decode step +{time} +{time} to {time}\n",
        r"  loading +\d\.\d\d s\n",
        r"  resident +[\d.]+ MB, at most [\d.]+ MB\n",
        r"  read per token +\S+ kB: weights \S+ kB, state \S+ kB, keys and values \S+ kB\n",
        r"  read rate +\S+ [MG]B/s, \d+ % of the \S+ GB/s this machine was measured to have\n",
    ):
        assert re.search(expected, result.stdout, re.MULTILINE), expected
    assert "\x1b" not in result.stdout


def test_a_terminal_sees_the_rounds(engine: Path) -> None:
    shown = on_terminal("bench", engine, *QUICK)
    for expected in ("\x1b[", "measuring the engine", "0/3", "━", "decode step"):
        assert expected in shown


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--context", "25"], "need a context of 26, it is 25; pass a lower --prompt-tokens or"),
        (["--context", "25"], "or a higher --context"),
        (["--new-tokens", "4090"], "need a context of 4110, it is 4096; pass a lower"),
        (["--context", "4097"], "context is 4097, expected an integer, 1 to 4096"),
    ],
)
def test_more_than_the_context_holds(engine: Path, options: list[str], expected: str) -> None:
    assert expected in error_line(deltaport("bench", engine, *QUICK, *options, "-q"))


def test_no_engine(tmp_path: Path) -> None:
    assert "no such engine folder" in error_line(deltaport("bench", tmp_path / "nowhere", "-q"))
