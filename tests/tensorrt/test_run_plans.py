"""Sessions over plans, run by a fake TensorRT on a fake GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

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
    before = fake_tensorrt.allocated()
    yield fake_tensorrt
    assert fake_tensorrt.allocated() == before


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
