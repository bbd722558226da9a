"""Times that TensorRT measured: read before a build, written after it, and refused where odd."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deltaport.errors import EngineError, InputError, OutputError
from deltaport.exporter.tensorrt import timing_cache
from deltaport.exporter.tensorrt.build_process import check_apart
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from tests.unit.stand_in_tensorrt import build, install_rtx, install_tensorrt


def build_with(folder: Path, cache: Path) -> str:
    return build(folder, gpu=None, timing_cache=str(cache))


def check_with(cache: Path) -> str:
    return check_apart(PlanOptions(timing_cache=str(cache)))


def test_a_build_adds_to_what_was_measured_before(stand_in: Path) -> None:
    install_tensorrt(stand_in)
    cache, link = stand_in / "times", stand_in / "link"
    link.symlink_to(cache)
    assert build_with(stand_in, link) == "TensorRT 11.4.0"
    assert cache.read_bytes() == b"+measured"
    build_with(stand_in, link)
    assert cache.read_bytes() == b"+measured+measured"
    assert link.is_symlink()
    assert (stand_in / "decoder.plan").read_bytes() == b"a plan"


def test_looking_for_tensorrt_writes_nothing(stand_in: Path) -> None:
    install_tensorrt(stand_in)
    assert check_with(stand_in / "times") == "TensorRT 11.4.0"
    assert not (stand_in / "times").exists()


def test_a_build_that_fails_changes_nothing(stand_in: Path) -> None:
    fails = "Builder.build_serialized_network = lambda *_: None"
    install_tensorrt(stand_in, fails)
    for before in (None, b"known"):
        cache = stand_in / "times"
        if before is not None:
            cache.write_bytes(before)
        with pytest.raises(EngineError, match="does not build it"):
            build_with(stand_in, cache)
        assert (cache.read_bytes() if cache.exists() else None) == before
    assert [path.name for path in stand_in.iterdir() if "partial" in path.name] == []


def test_a_plan_is_kept_whose_times_cannot_be(stand_in: Path) -> None:
    folder = stand_in / "kept"
    folder.mkdir()
    goes = f"os.rmdir({str(folder)!r}), b'a plan'"  # while TensorRT builds
    install_tensorrt(stand_in, f"Builder.build_serialized_network = lambda *_: ({goes})[1]")
    stages: list[str] = []
    cache = folder / "times"
    assert build(stand_in, stages, gpu=None, timing_cache=str(cache)) == "TensorRT 11.4.0"
    assert (stand_in / "decoder.plan").read_bytes() == b"a plan"
    assert f"going on without it: --timing-cache {cache}: cannot be written: " in "\n".join(stages)


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (b"of another version, an error: 0", "Version tag does not match"),
        (b"of another version, a warning: 1", "Version tag does not match"),
        (b"of another GPU", "it does not say why"),
        (b"nothing", "it does not say why"),
    ],
)
def test_what_tensorrt_refuses_is_told(stand_in: Path, held: bytes, why: str) -> None:
    install_tensorrt(stand_in)
    cache = stand_in / "times"
    cache.write_bytes(held)
    message = rf"--timing-cache .*times: TensorRT 11\.4\.0 refuses it \({why}\): it must have been "
    with pytest.raises(InputError, match=message):
        check_with(cache)
    assert cache.read_bytes() == held


def test_tensorrt_rtx_has_no_use_for_one(stand_in: Path) -> None:
    install_rtx(stand_in)
    options = PlanOptions(gpu="sm89", timing_cache=str(stand_in / "times"))
    with pytest.raises(InputError, match=r"TensorRT-RTX 1\.7\.2 measures nothing when it builds"):
        check_apart(options)


def test_odd_files_are_refused(stand_in: Path) -> None:
    install_tensorrt(stand_in)
    os.mkfifo(stand_in / "pipe")
    for name, message in (
        ("pipe", "--timing-cache .*pipe: not a regular file; name another file"),
        ("there/is/none", r"--timing-cache .*none: .*there/is is no folder that can be written"),
    ):
        with pytest.raises(InputError, match=message):
            check_with(stand_in / name)


class Config:
    """A builder's, which takes any times."""

    def create_timing_cache(self, data: bytes) -> Any:
        return self

    def set_timing_cache(self, cache: Any, *, ignore_mismatch: bool) -> bool:
        return not ignore_mismatch

    def serialize(self) -> bytes:
        return b"times"


def opened(path: Path) -> timing_cache.TimingCache:
    module = timing_cache.TensorRt(object(), "TensorRT", "11.4.0")
    logger = SimpleNamespace(warnings=[], problems=[])
    return timing_cache.TimingCache(module, Config(), logger, str(path))


def test_one_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing_cache, "_LIMIT", 1 << 20)
    with (tmp_path / "times").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(InputError, match="times: larger than 1 MiB, not a timing cache"):
        opened(tmp_path / "times")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    cache = opened(folder / "times")
    folder.rmdir()
    with pytest.raises(OutputError, match="times: cannot be written: No such file or directory"):
        cache.write()
