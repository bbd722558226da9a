"""Only an engine, and nothing but an engine, may be replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deltaport.exporter.replaceable import objection_to_replacing
from deltaport.package import MANIFEST_NAME

ROWS = [{"path": name, "size": 0, "sha256": ""} for name in ("decoder.onnx", "more/weights")]
OURS = {"schema_version": 99, "deltaport_version": "9", "decoder": "decoder.onnx", "files": ROWS}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine of a version yet to come."""
    (tmp_path / "more").mkdir()
    for row in ROWS:
        (tmp_path / row["path"]).touch()
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(OURS | {"novelty": 1}))
    return tmp_path


def test_an_engine_may_be_replaced_whole_or_not(engine: Path) -> None:
    assert objection_to_replacing(engine) is None
    (engine / "decoder.onnx").unlink()
    assert objection_to_replacing(engine) is None


@pytest.mark.parametrize("name", ["notes", ".git/config", "more/notes", "a\nb", "decoder.onnx2/x"])
def test_what_the_manifest_does_not_list_is_named(engine: Path, name: str) -> None:
    (engine / name).parent.mkdir(exist_ok=True)
    (engine / name).touch()
    objection = objection_to_replacing(engine)
    assert objection is not None
    assert objection.isprintable()
    assert "is no part of the engine" in objection


def test_empty_folders_and_links_count(engine: Path) -> None:
    (engine / "link").symlink_to(engine / "more")
    assert objection_to_replacing(engine) == "holds 'link', which is no part of the engine"
    (engine / "link").unlink()
    (engine / "empty").mkdir()
    assert objection_to_replacing(engine) == "holds 'empty', which is no part of the engine"


@pytest.mark.parametrize(
    "manifest",
    [
        {"name": "A web app", "icons": [], "start_url": "/"},
        {"manifest_version": 3, "version": "1.0", "files": []},
        *({key: value for key, value in OURS.items() if key != name} for name in OURS),
        OURS | {"files": [*ROWS, "decoder.onnx"]},
        OURS | {"files": [{"path": []}]},
        OURS | {"files": []},
        OURS | {"decoder": []},
        [],
    ],
)
def test_the_manifest_of_something_else_does_not_count(engine: Path, manifest: Any) -> None:
    (engine / MANIFEST_NAME).write_text(json.dumps(manifest))
    assert "is not an engine folder" in (objection_to_replacing(engine) or "")


def test_a_manifest_that_cannot_be_read_does_not_count(engine: Path) -> None:
    (engine / MANIFEST_NAME).write_bytes(b"\xff{")
    assert "is not an engine folder" in (objection_to_replacing(engine) or "")
    (engine / MANIFEST_NAME).unlink()
    assert "is not an engine folder" in (objection_to_replacing(engine) or "")
