"""Sessions over plans, run by a fake TensorRT on a fake GPU."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deltaport.errors import EngineError, StepCancelledError
from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Engine
from tests.checkpoints import save_checkpoint
from tests.greedy import greedy
from tests.tensorrt.fake_plans import FakeTensorRt, give_plan
from tests.without_tensorrt import runnable_graph

SLOTS, PREFILL_TOKENS, CAPACITY = 3, 16, 96
PROMPTS = [[5, 6, 7, 8, 9], list(range(40, 90)), [3], [7, 7, 7]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("plans") / "checkpoint", kind="moe")


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Engine:
    folder = checkpoint.parent / "ort-cpu"
    export_checkpoint(checkpoint, folder, target="ort-cpu", dtype="float32")
    return Engine.open(folder, threads=1)


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    """An engine with a plan."""
    folder = checkpoint.parent / "tensorrt"
    export_checkpoint(checkpoint, folder, target="tensorrt-plain", dtype="float32")
    graph = runnable_graph(folder / "decoder.onnx")
    sizes = {"slots": SLOTS, "prefill_tokens": PREFILL_TOKENS, "capacity": CAPACITY}
    give_plan(folder, graph, **sizes)
    return folder


@pytest.fixture(autouse=True)
def fakes(fake_tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    """All memory of the GPU is given back in the end."""
    fake_tensorrt.use(monkeypatch)
    before = fake_tensorrt.held()
    yield fake_tensorrt
    gc.collect()
    assert fake_tensorrt.held() == before


def test_a_plan_generates_what_the_cpu_does(folder: Path, reference: Engine) -> None:
    expected = greedy(reference.session(4, context=CAPACITY), PROMPTS, new=24, stop=())
    session = Engine.open(folder).session(4)
    assert session.context == CAPACITY
    assert greedy(session, PROMPTS, new=24, stop=()) == expected
    session.close()


def test_logits_of_every_token(folder: Path, reference: Engine) -> None:
    prompts = [list(range(1, 38)), [4]]
    with reference.session(2) as other, Engine.open(folder).session(2) as session:
        expected = other.prefill(prompts, logits="all")
        found = session.prefill(prompts, chunk_size=11, logits="all")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours is not None
        assert theirs is not None
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_rows_come_and_go(folder: Path, reference: Engine) -> None:
    """More than a step takes, forked, closed, set aside and wound back."""
    outputs = []
    for engine in (reference, Engine.open(folder)):
        session = engine.session(1, context=CAPACITY)
        said = [greedy(session, [PROMPTS[0]], new=5, stop=())]
        kept = session.snapshot(0)
        rows = [session.open_row() for _ in range(SLOTS + 2)]
        session.prefill([None, *([n, n + 1, n + 2] for n in rows)])
        said.append(greedy(session, [[] for _ in range(session.sequences)], new=4, stop=()))
        session.close_row(2)
        twin = session.fork(3)
        assert twin == 2
        said.append(greedy(session, [[], [9], [8], [], [], []], new=6, stop=()))
        session.rewind(0, 12, [kept])
        session.restore(1, kept)
        said.append(greedy(session, [[], [], None, [], [2, 3], None], new=5, stop=()))
        said.append(session.tokens)
        session.close()
        outputs.append(said)
    assert outputs[0] == outputs[1]


def test_state_is_what_the_cpu_has(folder: Path, reference: Engine) -> None:
    states = []
    for engine in (reference, Engine.open(folder)):
        session = engine.session(2, context=CAPACITY)
        session.prefill(PROMPTS[:2])
        session.decode([3, 4])
        layout = engine.manifest.state
        length = session.lengths[1]
        states.append(
            [
                array[1:2, :, :length] if row.kind == "kv" else array[1:2]
                for row in layout
                for array in [session.state[row.input]]
            ]
        )
        session.close()
    for ours, theirs in zip(*states, strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("captures", [True, False])
def test_decode_steps_are_recorded_where_they_can_be(
    folder: Path,
    reference: Engine,
    fakes: FakeTensorRt,
    monkeypatch: pytest.MonkeyPatch,
    captures: bool,
) -> None:
    if not captures:
        monkeypatch.setenv("FAKE_CUDA_NO_CAPTURE", "1")
    launches = fakes.launches()
    session = Engine.open(folder).session(2)
    other = reference.session(2, context=CAPACITY)
    for each in (session, other):
        each.prefill(PROMPTS[:2])
    for step in range(12):  # each of both buffers, first as it is, then recorded, then launched
        mask = [5 + step, None if step in (4, 5, 9) else 6]
        for ours, theirs in zip(session.decode(mask), other.decode(mask), strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    session.close()
    # Nine steps of both rows: of each buffer's four or five the first two are not recorded.
    assert fakes.launches() - launches == (5 if captures else 0)


def test_a_step_that_fails_leaves_rows_as_they_were(
    folder: Path, reference: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = greedy(reference.session(2, context=CAPACITY), PROMPTS[:2], new=8, stop=())
    session = Engine.open(folder).session(2)
    session.prefill([PROMPTS[0][:-1], PROMPTS[1][:-1]])
    for failing in ([[1, 2], [3]], [[1], [3]], [[1], None]):  # prefill, and first decodes
        monkeypatch.setenv("FAKE_TENSORRT_FAILS", "1")
        with pytest.raises(EngineError, match=r"tensorrt: a step failed: no kernel for this$"):
            session.prefill(failing)
        monkeypatch.delenv("FAKE_TENSORRT_FAILS")
    assert session.tokens == [PROMPTS[0][:-1], PROMPTS[1][:-1]]
    assert greedy(session, [PROMPTS[0][-1:], PROMPTS[1][-1:]], new=8, stop=()) == expected
    session.close()


def test_a_cancel_leaves_rows_as_they_were(
    folder: Path, reference: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Engine.open(folder).session(1)
    session.prefill([PROMPTS[0]])
    session.cancel()
    with pytest.raises(StepCancelledError):
        session.decode([4])
    monkeypatch.setenv("FAKE_TENSORRT_MILLISECONDS", "600")
    threading.Timer(0.2, session.cancel).start()  # while the GPU is at it
    with pytest.raises(StepCancelledError):
        session.decode([4])
    monkeypatch.delenv("FAKE_TENSORRT_MILLISECONDS")
    other = reference.session(1, context=CAPACITY)
    other.prefill([PROMPTS[0]])
    (ours,), (theirs,) = session.decode([4]), other.decode([4])
    assert ours is not None
    assert theirs is not None
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    session.close()


def test_a_failed_decode_is_not_recorded(
    folder: Path, reference: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever time of its kind it is that fails."""
    session, other = Engine.open(folder).session(1), reference.session(1, context=CAPACITY)
    for each in (session, other):
        each.prefill([PROMPTS[0]])
    for step in range(10):
        monkeypatch.setenv("FAKE_TENSORRT_FAILS", "1")
        if step in (0, 2, 5):
            with pytest.raises(EngineError):
                session.decode([step])
        monkeypatch.delenv("FAKE_TENSORRT_FAILS")
        (ours,), (theirs,) = session.decode([step]), other.decode([step])
        assert ours is not None
        assert theirs is not None
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    session.close()


def test_state_bytes_are_those_of_the_gpu(folder: Path, fakes: FakeTensorRt) -> None:
    engine = Engine.open(folder)
    (before, _) = fakes.held()
    few, many = (engine.session(rows) for rows in (1, 3))
    assert 0 < few.state.nbytes < many.state.nbytes == 3 * few.state.nbytes
    assert fakes.held()[0] - before > few.state.nbytes + many.state.nbytes
    few.close()
    many.close()


def test_sessions_in_threads(folder: Path, reference: Engine) -> None:
    expected = greedy(reference.session(4, context=CAPACITY), PROMPTS, new=10, stop=())
    engine = Engine.open(folder)

    def run(row: int) -> list[int]:
        with engine.session(1) as session:
            return greedy(session, [PROMPTS[row]], new=10, stop=())[0]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, range(4))) == expected
