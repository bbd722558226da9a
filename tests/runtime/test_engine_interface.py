"""An engine whose graph and manifest disagree does not open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deltaport.errors import EngineError, InputError
from deltaport.runtime import Engine
from deltaport.state_layout import StateLayout
from tests.greedy import greedy
from tests.runtime.toy_engine import GRAPH, LAYOUT, VOCAB, toy_tokens, write_toy

KEY, MATRIX = LAYOUT


def refuse(folder: Path, message: str, **changes: Any) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        Engine.open(write_toy(folder / "engine", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_a_good_engine_opens(tmp_path: Path, threads: int | None, checksums: bool) -> None:
    folder = write_toy(tmp_path / "engine")
    engine = Engine.open(str(folder), threads=threads, checksums=checksums)
    assert greedy(engine.session(), [[3, 4]], new=3) == [toy_tokens([3, 4], 3)]


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_are_checked_first(tmp_path: Path, threads: int) -> None:
    with pytest.raises(InputError, match="threads is"):
        Engine.open(tmp_path / "nowhere", threads=threads)


def test_a_newer_op_library_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, "made with op library 2.* upgrade deltaport", op_library_version=2)


def test_a_graph_onnxruntime_refuses(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "engine")
    size = (folder / "decoder.onnx").stat().st_size
    (folder / "decoder.onnx").write_bytes(b"\xff" * size)
    with pytest.raises(EngineError, match="checksum differs"):
        Engine.open(folder)
    with pytest.raises(EngineError, match=r"decoder\.onnx: onnxruntime refuses it"):
        Engine.open(folder, checksums=False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((KEY,), r"(past|present)\.1\.recurrent is only in the graph"),
        ((), "is only in the graph"),
        ((KEY, MATRIX, replace(MATRIX, input="p", output="q")), "[pq] is only in the manifest"),
        ((KEY, replace(MATRIX, input="past.1.state")), "is only in the"),
        ((KEY, replace(MATRIX, shape=("slots", 1, 1))), "another dtype or shape"),
        ((KEY, replace(MATRIX, shape=("slots", 2))), "another dtype or shape"),
        ((replace(KEY, shape=("slots", 1, "capacity", 3)), MATRIX), "another dtype or shape"),
        ((replace(KEY, shape=("slots", "capacity", 1, 1)), MATRIX), "another dtype or shape"),
    ],
)
def test_another_state_than_the_graph_has(tmp_path: Path, rows: Any, message: str) -> None:
    refuse(tmp_path, message, state=StateLayout(rows))


def test_another_vocabulary_than_the_graph_has(tmp_path: Path) -> None:
    refuse(tmp_path, "logits has another dtype or shape", vocab_size=VOCAB - 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("logit_index", "picked", "is only in the"),
        ("int64[batch,tokens] input_ids", "int64[batch,8] input_ids", "input_ids has another"),
        ("int64[batch,tokens] input_ids", "int32[batch,tokens] input_ids", "input_ids has another"),
        ("int64[3,batch,tokens]", "int64[4,batch,tokens]", "positions has another"),
    ],
)
def test_another_step_than_the_runtime_makes(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GRAPH
    refuse(tmp_path, message, graph=GRAPH.replace(old, new))
