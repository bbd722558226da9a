"""Changing what an engine computes, with a manifest that vouches for the change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from deltaport.package.file_digest import file_digest

__all__ = ["change_weight", "narrow_state", "vouch"]


def vouch(engine: Path) -> None:
    """Bring sizes and checksums of the manifest up to date with the files."""
    path = engine / "manifest.json"
    document = json.loads(path.read_text())
    for row in document["files"]:
        file = engine / row["path"]
        row |= {"size": file.stat().st_size, "sha256": file_digest(file)}
    path.write_text(json.dumps(document))


def change_weight(engine: Path, name: str, change: Callable[[NDArray[Any]], None]) -> None:
    """Let ``change`` write to a float32 weight, in the layout the graph stores it in."""
    model = onnx.load(str(engine / "decoder.onnx"), load_external_data=False)
    [weight] = [value for value in model.graph.initializer if value.name == name]
    assert weight.data_type == onnx.TensorProto.FLOAT
    place = {entry.key: entry.value for entry in weight.external_data}
    data = np.memmap(
        engine / place["location"],
        dtype=np.float32,
        mode="r+",
        offset=int(place["offset"]),
        shape=tuple(weight.dims),
    )
    before = data.copy()
    change(data)
    assert not np.array_equal(before, data), "a change that changes nothing proves nothing"
    data.flush()
    vouch(engine)


def narrow_state(engine: Path, name: str) -> None:
    """Let a state tensor (``past...`` or ``present...``) pass through float16."""
    path = engine / "decoder.onnx"
    model = onnx.load(str(path), load_external_data=False)
    graph, narrow, other = model.graph, f"{name}.float16", f"{name}.other"
    if name.startswith("past"):
        _replace(graph, name, other, of="input")
        source, result = name, other
    else:
        _replace(graph, name, other, of="output")
        source, result = other, name
    casts = [
        onnx.helper.make_node("Cast", [source], [narrow], to=onnx.TensorProto.FLOAT16),
        onnx.helper.make_node("Cast", [narrow], [result], to=onnx.TensorProto.FLOAT),
    ]
    nodes = [*casts, *graph.node] if name.startswith("past") else [*graph.node, *casts]
    del graph.node[:]
    graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())
    vouch(engine)


def _replace(graph: onnx.GraphProto, old: str, new: str, *, of: str) -> None:
    found = 0
    for node in graph.node:
        names = getattr(node, of)
        for i, name in enumerate(names):
            if name == old:
                names[i] = new
                found += 1
    assert found, f"no node has {old} as {of}"
