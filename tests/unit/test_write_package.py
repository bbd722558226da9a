"""An engine folder is there only if its manifest can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deltaport.exporter.atomic_folder import AtomicFolder
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.replaceable import objection_to_replacing
from deltaport.exporter.write_package import write_package
from deltaport.graph_passes.target_capabilities import target_named
from deltaport.package import MANIFEST_NAME, Manifest, open_package
from deltaport.state_layout import StateLayout
from tests.passes.graph_text import parse_graph
from tests.unit.test_model_spec import DENSE_TEXT, YARN


class NoTensors:
    """The source of a graph without weights."""

    def read(self, *_: Any) -> Any:
        raise AssertionError("there is nothing to read")

    def release(self, name: str) -> None:
        raise AssertionError(f"there is no {name}")


def write(output: Path, *, overwrite: bool = False, **changes: Any) -> Manifest:
    arguments: dict[str, Any] = {
        "spec": ModelSpec.from_config(DENSE_TEXT, source="config.json"),
        "eos_token_ids": (3, 95),
        "layout": StateLayout(()),
        "target": target_named("portable"),
        "dtype": "float32",
        "quantization": None,
        "not_exported": {"vision": 2},
        "checkpoint": output.parent,
        "source": NoTensors(),
    }
    graph = parse_graph("main (float[1] x) => (float[1] y) { y = Identity (x) }")
    objection = objection_to_replacing if overwrite else None
    with AtomicFolder(output, objection=objection) as folder:
        return write_package(folder, graph, **arguments | changes)


def test_the_manifest_is_what_was_asked_for(tmp_path: Path) -> None:
    manifest = write(tmp_path / "engine")
    assert open_package(tmp_path / "engine") == manifest
    assert manifest.eos_token_ids == (3, 95)
    assert manifest.max_positions == 32768


def test_positions_include_the_extension_by_yarn(tmp_path: Path) -> None:
    config = {**DENSE_TEXT, "rope_parameters": YARN}
    spec = ModelSpec.from_config(config, source="config.json")
    assert write(tmp_path / "engine", spec=spec).max_positions == 4 * 262144


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eos_token_ids": (96,)}, r"eos_token_ids holds 96"),
        ({"not_exported": {"vision": -1}}, r"not_exported\['vision'\] is -1"),
        ({"not_exported": {2: 3}}, "does not read back: it changed"),  # JSON's keys are text
    ],
)
def test_no_folder_is_left_that_cannot_be_opened(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    before = write(tmp_path / "engine")
    with pytest.raises(RuntimeError, match=message):
        write(tmp_path / "engine", overwrite=True, **changes)
    with pytest.raises(RuntimeError, match=message):
        write(tmp_path / "other", **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    document = json.loads((tmp_path / "engine" / MANIFEST_NAME).read_text())
    assert document == json.loads(before.to_json())
