"""Paths that cannot be right, and what the message offers instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.cli.paths import check_exported, check_inspected
from deltaport.errors import InputError


def refused(path: Path | str) -> tuple[str, str]:
    messages = []
    for check in (check_exported, check_inspected):
        with pytest.raises(InputError) as caught:
            check(Path(path))
        messages.append(str(caught.value))
    return messages[0], messages[1]


def test_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in refused("Qwen/Qwen3.5-0.8B"):
        assert line.endswith("hf download Qwen/Qwen3.5-0.8B --local-dir Qwen3.5-0.8B")
    (tmp_path / "Qwen").mkdir()
    for line in (*refused("Qwen/Qwen3.5-0.8B"), *refused(tmp_path / "a" / "b"), *refused("a")):
        assert line.endswith("; check the path")


@pytest.mark.parametrize("name", ["model.safetensors", "decoder.onnx", "decoder.onnx.data"])
def test_a_file_of_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    for line in refused(tmp_path / name):
        assert line.endswith(str(tmp_path))


def test_an_engine_is_not_exported_but_inspected(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    check_inspected(tmp_path)
    with pytest.raises(InputError, match="is an engine already, not a checkpoint; run it with"):
        check_exported(tmp_path)


def test_what_may_be_right_passes(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    check_exported(tmp_path)
    check_inspected(tmp_path)
    check_inspected(tmp_path / "config.json")
