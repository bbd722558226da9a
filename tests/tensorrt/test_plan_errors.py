"""What a plan does not run on, or is not made for: one clear line each."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaport.errors import CapacityError, EngineError, InputError
from deltaport.runtime import Engine
from deltaport.runtime.tensorrt_library import PLUGINS_VARIABLE, TENSORRT_VARIABLE
from tests.end_to_end.command import deltaport
from tests.runtime.toy_engine import write_toy
from tests.tensorrt.fake_plans import FakeTensorRt
from tests.tensorrt.planned_toy import CAPACITY, write_planned_toy

SLOTS = 3


@pytest.fixture
def engine(fake_tensorrt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_tensorrt.use(monkeypatch)
    return write_planned_toy(tmp_path, slots=SLOTS)


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "manifest.json"
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


def refused(folder: Path, message: str, **options: Any) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        Engine.open(folder, **options)
    assert "\n" not in str(caught.value)


def test_without_our_library(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLUGINS_VARIABLE)
    refused(engine, f"need libdeltaport_tensorrt.so, .*; set {PLUGINS_VARIABLE} to it")


def test_another_library(
    engine: Path, fake_tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PLUGINS_VARIABLE, str(fake_tensorrt.cuda))
    refused(engine, r"libfake_cuda.so: not the libdeltaport_tensorrt.so of this deltaport; build")
    damaged = tmp_path / "libdamaged.so"
    damaged.write_bytes(b"no library")
    monkeypatch.setenv(PLUGINS_VARIABLE, str(damaged))
    refused(engine, r"libdamaged.so: cannot be loaded: .*; build it for this machine")


def test_without_tensorrt(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TENSORRT_VARIABLE)
    refused(
        engine,
        r"decoder.plan: built by TensorRT 11.4.0 for this GPU: TensorRT cannot be loaded: "
        "libnvinfer.so.11: ",
    )
    rtx = {"builder": "TensorRT-RTX 1.7.1.116", "gpu": "sm89"}
    change(engine, lambda document: document["plan"].update(rtx))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # nor a package with it
    refused(engine, r"TensorRT-RTX 1.7.1.116 for sm89 GPU: .*loaded: libtensorrt_rtx.so.1: ")


@pytest.mark.parametrize("version", ["91500", "101300", "10701"])
def test_tensorrt_of_another_version(
    engine: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", version)
    found = f"{int(version) // 10000}.{int(version) // 100 % 100}"
    refused(
        engine,
        rf"libnvinfer.so.11: is version {found}, libdeltaport_tensorrt.so was built for \d+\.\d+; "
        "build it with the headers of the one that is here$",
    )


def test_without_a_gpu(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA_GPUS", "0")
    refused(engine, "there is no NVIDIA GPU to run it: no CUDA-capable device is detected$")
    ran = deltaport("run", engine, "--ids", "1,2")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith("no CUDA-capable device is detected")


def test_a_plan_that_tensorrt_refuses(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_REFUSES", "1")
    refused(engine, r"decoder.plan: .*: TensorRT refuses it: magic tag does not match$")


def test_plugins_that_tensorrt_refuses(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_NO_PLUGINS", "1")
    refused(engine, r"libdeltaport_tensorrt.so: its plugins cannot be loaded$")


def test_a_plan_without_bytes(engine: Path) -> None:
    (engine / "decoder.plan").write_bytes(b"")
    change(engine, lambda document: document["files"][1].update({"size": 0}))
    refused(engine, r"decoder.plan: .*: cannot be read: is empty$", checksums=False)


def test_state_that_no_plan_has(engine: Path) -> None:
    change(engine, lambda document: document.update({"ragged": True}))
    refused(engine, r"decoder.plan: ragged by the manifest, which no plan is; export the engine")
    change(engine, lambda document: document.update({"ragged": False}))
    change(engine, lambda document: document["state"][0].update({"update": "swap"}))
    refused(engine, r"past.0.key is swapped by the manifest, and TensorRT updates caches where")


def test_an_engine_without_a_plan(engine: Path, tmp_path: Path) -> None:
    bare = write_toy(tmp_path / "bare", target="tensorrt", ragged=False)
    refused(bare, r"bare: has no plan, it was exported with --no-plan; export it again without")


def test_the_cpu_is_asked_for(engine: Path) -> None:
    refused(engine, "device is cpu, but the engine was made for TensorRT", device="cpu")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("slots", 4, r"takes input_ids up to \[3, 1\], expected \[4, 1\] by the manifest"),
        ("prefill_tokens", 65, r"takes input_ids up to \[1, 64\], expected \[1, 65\]"),
        ("capacity", 1280, r"past.0.key has another dtype or shape than the manifest says"),
    ],
)
def test_a_plan_of_other_sizes(engine: Path, field: str, value: int, message: str) -> None:
    change(engine, lambda document: document["plan"].update({field: value}))
    refused(engine, message)


def test_rows_that_cannot_lie_side_by_side(engine: Path) -> None:
    change(engine, lambda document: document["state"][1].update({"shape": ["slots", 63]}))
    refused(
        engine,
        r"past.1.recurrent takes 252 bytes a sequence, expected a multiple of 256 where several "
        "decode together; export the engine with --slots 1",
    )


def test_a_context_beyond_the_caches(engine: Path) -> None:
    change(engine, lambda document: document.update({"max_positions": 5000}))
    opened = Engine.open(engine)
    assert opened.session().context == CAPACITY
    with pytest.raises(InputError, match=f"context is {CAPACITY + 1}, .* 1 to {CAPACITY}$"):
        opened.session(context=CAPACITY + 1)
    ran = deltaport("run", engine, "--ids", "1,2", "--context", CAPACITY + 1)
    assert ran.returncode == 2
    assert f"--context {CAPACITY + 1}: {engine} takes 1 to {CAPACITY} tokens" in ran.stderr


def test_a_gpu_that_is_too_small(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Engine.open(engine)
    monkeypatch.setenv("FAKE_CUDA_BYTES", "100000")
    shape = r"past.0.key of shape \[99, 1, 1216, 1\]"
    with pytest.raises(CapacityError, match=f"no memory for {shape}; use fewer sequences"):
        opened.session(99)
    session = opened.session(2)
    (before, _) = session.prefill([[3, 1], None])

    def open_many() -> None:
        for _ in range(99):
            session.open_row()

    with pytest.raises(CapacityError, match="use fewer sequences"):
        open_many()
    (after, *_) = session.decode([4, *[None] * (session.sequences - 1)])
    assert before is not None
    assert after is not None


def test_options_that_a_plan_does_not_allow(engine: Path, tmp_path: Path) -> None:
    for options in (["--layers"], ["--passes-prefix", "1"]):
        done = deltaport("verify", engine, "--against", tmp_path, *options)
        assert done.returncode == 2
        assert f"{options[0]}: {engine} is run by TensorRT, which computes its plan" in done.stderr
