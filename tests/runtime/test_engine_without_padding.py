"""Engines that take no padding: each row gets what it gets alone, idle rows stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deltaport.errors import EngineError
from deltaport.runtime import Engine, _native
from deltaport.state_layout import StateLayout
from tests.greedy import greedy
from tests.runtime.toy_engine import GRAPH, LAYOUT, POISON, toy_logits, toy_tokens, write_toy

SPOILT = GRAPH.replace("x = Where(valid, embedded, f_zero)", "x = Where(valid, embedded, five)")
"""A decoder whose state adds five for every padded token."""

PROMPTS = ([1, 2, 3, 4], [5], [], [6, 7], [8], [9])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("spoilt") / "engine"
    return Engine.open(write_toy(folder, graph=SPOILT, ragged=False))


def test_padding_would_show(tmp_path: Path) -> None:
    engine = Engine.open(write_toy(tmp_path / "engine", graph=SPOILT, ragged=True))
    (_, logits) = engine.session(2).prefill([[1, 2, 3], [1]])
    (_, after) = engine.session(2).prefill([[1, 2, 3], [1]])
    assert logits is not None
    assert np.array_equal(logits, after)
    session = engine.session(2)
    session.prefill([[1, 2, 3], [1]])
    (_, spoilt) = session.decode([None, 2])
    assert spoilt is not None
    assert not np.array_equal(spoilt, toy_logits([1, 2])[-1])


@pytest.mark.parametrize("chunk_size", [None, 1, 3])
def test_ragged_prompts_give_what_each_gives_alone(engine: Engine, chunk_size: int | None) -> None:
    session = engine.session(len(PROMPTS))
    answers = session.prefill(PROMPTS, chunk_size=chunk_size, logits="all")
    for prompt, logits in zip(PROMPTS, answers, strict=True):
        if prompt:
            assert logits is not None
            assert np.array_equal(logits, toy_logits(prompt))
        else:
            assert logits is None
    found = greedy(session, new=9, stop=())
    assert found == [toy_tokens(prompt, 9, ()) if prompt else [] for prompt in PROMPTS]


def test_rows_given_no_token_stay_as_they_are(engine: Engine) -> None:
    session = engine.session(4)
    session.prefill([[1, 2], [3], [4, 5, 6], [7]])
    before = {name: array.copy() for name, array in session.state.inputs()}
    session.decode([None, 8, None, 9])
    for name, array in session.state.inputs():
        assert np.array_equal(array[[0, 2]], before[name][[0, 2]])
        assert not np.array_equal(array[[1, 3]], before[name][[1, 3]])
    (logits, *_) = session.decode([1, 1, 1, 1])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 2, 1])[-1])


def test_a_step_that_fails_changes_nothing(engine: Engine) -> None:
    session = engine.session(3)
    session.prefill([[1], [2], [3]])
    before = session.state["past.1.recurrent"]
    with pytest.raises(EngineError):  # some rows had run by then
        session.prefill([[4, 4], [POISON, 4], [5, 5]])
    assert session.lengths == [1, 1, 1]
    assert np.array_equal(session.state["past.1.recurrent"], before)
    logits, *_ = session.decode([1, 1, 1])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 1])[-1])


def stored_as(dtype: str, onnx_type: int) -> tuple[str, StateLayout]:
    """The toy's graph and layout with all state in ``dtype``."""
    halved = GRAPH
    for name, shape in (("0.key", "[batch,1,capacity,1]"), ("1.recurrent", "[batch,1]")):
        for time in ("past", "present"):
            stated = f'float{shape} "{time}.{name}"'
            assert stated in halved
            halved = halved.replace(stated, f'{dtype}{shape} "{time}.{name}.half"')
    start, end = halved.index("{\n    n_tokens"), halved.rindex("}")
    body = halved[start + 1 : end]
    halved = (
        halved[: start + 1]
        + '"past.0.key" = Cast<to = 1>("past.0.key.half")\n'
        + '"past.1.recurrent" = Cast<to = 1>("past.1.recurrent.half")\n'
        + body
        + f'"present.0.key.half" = Cast<to = {onnx_type}>("present.0.key")\n'
        + f'"present.1.recurrent.half" = Cast<to = {onnx_type}>("present.1.recurrent")\n}}'
    )
    layout = StateLayout(
        tuple(
            replace(
                tensor,
                dtype=dtype,
                update="swap",
                input=f"{tensor.input}.half",
                output=f"{tensor.output}.half",
            )
            for tensor in LAYOUT
        )
    )
    return halved, layout


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize(("dtype", "onnx_type"), [("float16", 10), ("bfloat16", 16)])
def test_state_may_be_stored_in_half_precision(
    tmp_path: Path, dtype: str, onnx_type: int, ragged: bool
) -> None:
    graph, layout = stored_as(dtype, onnx_type)
    engine = Engine.open(write_toy(tmp_path / "engine", graph=graph, state=layout, ragged=ragged))
    prompts = [[1, 2, 3], [4]]
    session = engine.session(2)
    # Sums of few small tokens are integers that both dtypes hold exactly.
    assert greedy(session, prompts, new=4, stop=()) == [toy_tokens(p, 4, ()) for p in prompts]
    kept = session.snapshot(0)
    ahead = greedy(session, new=3, stop=())
    other = engine.session()
    other.restore(0, kept)
    assert greedy(other, new=3, stop=()) == ahead[:1]
    assert {array.itemsize for _, array in session.state.inputs()} == {2}


def test_a_gpu_is_for_engines_made_for_one(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "engine")
    with pytest.raises(EngineError, match=r"made for 'portable'; export it with --target ort-cuda"):
        Engine.open(folder, device="cuda")
    with pytest.raises(EngineError, match="device is 'tpu', expected cpu or cuda"):
        Engine.open(folder, device="tpu")  # type: ignore[arg-type]
    assert Engine.open(folder, device="cpu").session().prefill([[1]])


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_a_gpu_is_used_where_there_is_one_unless_told_otherwise() -> None:
    for device, available, expected in (
        (None, [CUDA, CPU], True),
        (None, [CPU], False),
        ("cuda", [CUDA, CPU], True),
        ("cpu", [CUDA, CPU], False),
    ):
        assert _native.use_cuda("ort-cuda", device, available) is expected
        assert not _native.use_cuda("portable", None, available)


def test_without_cuda_an_engine_for_a_gpu_runs_on_the_cpu(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "engine", target="ort-cuda")
    (logits,) = Engine.open(folder).session().prefill([[1, 2]])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 2])[-1])
    # This onnxruntime has no such provider, or finds no driver.
    with pytest.raises(EngineError, match=r"no CUDA provider; install|could not use a GPU"):
        Engine.open(folder, device="cuda")


def test_a_dtype_the_device_has_no_kernels_for_is_told(tmp_path: Path) -> None:
    graph, layout = stored_as("bfloat16", 16)
    graph = graph.replace(
        '"past.0.key" = Cast<to = 1>("past.0.key.half")',
        'same = Erf("past.0.key.half")\n"past.0.key" = Cast<to = 1>(same)',
    )
    folder = write_toy(tmp_path / "engine", graph=graph, state=layout)
    with pytest.raises(
        EngineError, match=r"decoder\.onnx: computes in bfloat16, .*--dtype float32"
    ):
        Engine.open(folder)
