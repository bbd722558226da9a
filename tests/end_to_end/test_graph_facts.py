"""What ``inspect`` reads from an engine's graph, and what it says where that cannot be read."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import pytest

from deltaport.cli import graph_facts
from deltaport.cli.facts import gather
from tests.end_to_end.command import deltaport, in_process


def alter(engine: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the graph, and the size in the manifest with it."""
    path = engine / "decoder.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    put(engine, model.SerializeToString())


def put(engine: Path, graph: bytes) -> None:
    (engine / "decoder.onnx").write_bytes(graph)
    manifest: dict[str, Any] = json.loads((engine / "manifest.json").read_text())
    [entry] = [entry for entry in manifest["files"] if entry["path"] == "decoder.onnx"]
    entry["size"] = len(graph)
    (engine / "manifest.json").write_text(json.dumps(manifest))


def test_ops_are_those_of_the_graph(engine: Path) -> None:
    graph = onnx_ir.load(engine / "decoder.onnx").graph
    expected = Counter((node.domain, node.op_type) for node in graph)
    rows = gather(engine)["engine"]["ops"]
    assert {(row["domain"], row["op"]): row["nodes"] for row in rows} == expected
    ours = [row["domain"] for row in rows]
    assert ours == sorted(ours, reverse=True), "ours come first"


def test_bytes_are_those_of_the_file(engine: Path) -> None:
    """All weights together, but for the gaps between them."""
    rows = gather(engine)["roles"]
    size = (engine / "decoder.onnx.data").stat().st_size
    tensors = sum(row["tensors"] for row in rows)
    assert 0 <= size - sum(row["bytes"] for row in rows) < 4096 * tensors


def test_dtypes_are_those_of_the_initializers(altered: Path) -> None:
    def narrow(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            if weight.name == "model.layers.1.linear_attn.out_proj.weight":
                weight.data_type = onnx.TensorProto.FLOAT16

    alter(altered, narrow)
    facts = gather(altered)
    rows = {
        row["dtype"]: (row["tensors"], row["bytes"])
        for row in facts["roles"]
        if row["role"] == "linear_attn.out_proj"
    }
    assert rows == {"float32": (2, 2 * 64 * 64 * 4), "float16": (1, 64 * 64 * 2)}
    assert facts["notes"] == []


def test_joined_weights_are_of_the_manifests_dtype(altered: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            weight.name += "+more"

    before = gather(altered)
    alter(altered, rename)
    facts = gather(altered)
    assert facts["roles"] == before["roles"]
    assert facts["notes"] == []
    assert facts["engine"]["ops"] == before["engine"]["ops"]


def test_joined_weights_of_several_dtypes(altered: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            if "experts" in weight.name:
                weight.name += "+more"

    alter(altered, rename)
    path = altered / "manifest.json"
    dtypes = '"dtype": "bfloat16+float32",\n'
    path.write_text(path.read_text().replace('"dtype": "float32"', dtypes[:-2], 1))
    facts = gather(altered)
    assert facts["notes"] == [
        "decoder.onnx joins weights; of matrices the manifest says bfloat16+float32, bfloat16 is "
        "assumed"
    ]
    dtypes_of = {row["role"]: row["dtype"] for row in facts["roles"]}
    assert (dtypes_of["experts"], dtypes_of["embedding"]) == ("bfloat16", "float32")


@pytest.mark.parametrize("graph", [b"\xff" * 100, b"\x08", os.urandom(1000)])
def test_a_damaged_graph(altered: Path, graph: bytes) -> None:
    put(altered, graph)
    result = deltaport("inspect", altered)
    assert result.returncode == 0, result.stderr
    assert "note: decoder.onnx " in result.stdout
    assert "; of matrices the manifest says float32\n" in result.stdout


def test_names_that_are_no_text(altered: Path) -> None:
    data = (altered / "decoder.onnx").read_bytes()
    put(altered, data.replace(b"RMSNormalization", b"RMSNormalizatio\xff"))
    assert "note: decoder.onnx is damaged" in in_process("inspect", altered).stdout


def test_without_onnx(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_facts, "find_spec", lambda _: None)
    facts = gather(engine)
    assert facts["engine"]["ops"] is None
    assert facts["notes"] == [
        "decoder.onnx not read, which needs deltaport[export]; of matrices the manifest says "
        "float32"
    ]
    assert {row["dtype"] for row in facts["roles"]} == {"float32"}
    assert "graph:" not in in_process("inspect", engine).stdout


def test_matrices_of_several_dtypes_without_onnx(
    altered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_facts, "find_spec", lambda _: None)
    path = altered / "manifest.json"
    path.write_text(path.read_text().replace('"dtype": "float32",\n', '"dtype": "a\\nb",\n', 1))
    facts = gather(altered)
    assert facts["notes"][0].endswith("the manifest says a\\nb, bfloat16 is assumed")
    dtypes = {row["role"]: row["dtype"] for row in facts["roles"]}
    assert (dtypes["experts"], dtypes["norm"]) == ("bfloat16", "float32")
