"""An export never replaces what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.errors import OutputError
from deltaport.exporter.export import refuse_to_replace_input


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Like the Hub's: a snapshot that links to blobs."""
    (tmp_path / "hub" / "snapshot").mkdir(parents=True)
    (tmp_path / "blobs" / "deep").mkdir(parents=True)
    (tmp_path / "blobs" / "deep" / "0").touch()
    (tmp_path / "hub" / "snapshot" / "model.safetensors").symlink_to("../../blobs/deep/0")
    (tmp_path / "alias").symlink_to("blobs")
    return tmp_path


@pytest.mark.parametrize(
    "output", ["hub/snapshot", "hub", ".", "blobs", "blobs/deep", "alias", "hub/../blobs"]
)
def test_the_checkpoint_and_what_it_links_to(cache: Path, output: str) -> None:
    with pytest.raises(OutputError, match="which the export reads; choose another output"):
        refuse_to_replace_input(cache / output, cache / "hub" / "snapshot")


@pytest.mark.parametrize("output", ["engine", "hub/snapshot/engine", "hub/other", "new/er"])
@pytest.mark.parametrize("there", [False, True])
def test_other_places_are_fine(cache: Path, output: str, there: bool) -> None:
    if there:
        (cache / output).mkdir(parents=True)
    refuse_to_replace_input(cache / output, cache / "hub" / "snapshot")


def test_an_empty_name_is_the_current_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cache / "blobs")
    with pytest.raises(OutputError, match=r"^'': holds "):
        refuse_to_replace_input("", cache / "hub" / "snapshot")
