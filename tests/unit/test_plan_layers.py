"""``layers.json`` comes back as it was written, and nothing else is taken for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deltaport.errors import EngineError
from deltaport.package import FileEntry, Manifest, Plan
from deltaport.package.plan_layers import (
    LAYERS_LIMIT,
    LAYERS_NAME,
    PlanLayer,
    PlanLayers,
    read_plan_layers,
)
from tests.unit.test_manifest import MANIFEST

LAYER = PlanLayer("a + b", "gemm", ("BFloat16", ""), ("a", "b"), "sm80_xmma")
LAYERS = PlanLayers({"decode": (LAYER,), "prefill": ()})
PLAN = Plan("decoder.plan", "TensorRT 11.4.0", "this", 8, 512, 4096)


def manifest(*, plan: Plan | None = PLAN, listed: bool = True) -> Manifest:
    files = (FileEntry(LAYERS_NAME, 1, "0" * 64),) if listed else ()
    return replace(MANIFEST, plan=plan, files=files)


def read(folder: Path, text: str) -> PlanLayers | None:
    (folder / LAYERS_NAME).write_text(text)
    return read_plan_layers(folder, manifest())


@pytest.mark.parametrize("layers", [LAYERS, PlanLayers({}, "why not"), PlanLayers({})])
def test_it_comes_back(layers: PlanLayers, tmp_path: Path) -> None:
    assert read(tmp_path, layers.to_json()) == layers


def test_only_a_listed_file_of_a_plan_is_read(tmp_path: Path) -> None:
    (tmp_path / LAYERS_NAME).write_text("damaged")
    assert read_plan_layers(tmp_path, manifest(plan=None)) is None
    assert read_plan_layers(tmp_path, manifest(listed=False)) is None


def with_layer(**changes: Any) -> Any:
    row = json.loads(LAYERS.to_json())["steps"]["decode"][0]
    return {"untold": "", "steps": {"decode": [row | changes]}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not valid JSON: .*; export the engine again"),
        ("[]", "holds a list; expected a JSON object"),
        ("{}", "the file: expected the fields steps, untold"),
        ({"steps": {}, "untold": "", "more": 1}, "the file: expected the fields"),
        ({"steps": {}, "untold": 1}, "untold is 1, expected text"),
        ({"steps": [], "untold": ""}, r"steps is \[\], expected a list of layers for each step"),
        ({"steps": {"decode": {}}, "untold": ""}, "steps is .*, expected a list of layers"),
        ({"steps": {"decode": [1]}, "untold": ""}, "layer 0 of 'decode': expected the fields name"),
        (with_layer(more=1), "layer 0 of 'decode': expected the fields name, kind"),
        (with_layer(kind=None), "layer 0 of 'decode': kind is None, expected text"),
        (with_layer(nodes="ab"), "layer 0 of 'decode': nodes is 'ab', expected texts"),
        (with_layer(outputs=[1]), r"layer 0 of 'decode': outputs is \[1\], expected texts"),
        ("[" * 100_000, "is nested too deeply to be real"),
    ],
)
def test_what_an_export_does_not_write(document: Any, message: str, tmp_path: Path) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(EngineError, match=rf"layers\.json: {message}"):
        read(tmp_path, text)


def test_one_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / LAYERS_NAME).open("wb") as file:
        file.truncate(LAYERS_LIMIT + 1)
    with pytest.raises(EngineError, match=r"layers\.json: larger than 64 MiB; export the engine"):
        read_plan_layers(tmp_path, manifest())
