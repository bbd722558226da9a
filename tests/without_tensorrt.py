"""Engines for TensorRT opened without it: stand-ins take the place of TensorRT's own ops."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN
from deltaport.package import Manifest
from deltaport.runtime import Engine
from deltaport.runtime.engine import open_decoder
from deltaport.state_layout import StateLayout
from tests.plugin_bodies import plugin_bodies
from tests.trt_bodies import trt_bodies

__all__ = ["open_without_tensorrt", "runnable_graph"]


def open_without_tensorrt(folder: Path) -> Engine:
    """The engine's graph on onnxruntime's CPU provider.

    Stand-ins for kernels may not update the rule's state where it lies; caches they may.
    """
    manifest = Manifest.from_json((folder / "manifest.json").read_text(), source="manifest.json")
    own = _runnable_anywhere(manifest)
    graph = runnable_graph(folder / manifest.decoder).SerializeToString()
    return Engine(folder, own, open_decoder(folder, own, graph=graph, threads=2))


def runnable_graph(decoder: Path) -> onnx.ModelProto:
    """The graph with its weights inside, and a body for every op that is TensorRT's or a plugin."""
    model = onnx.load(str(decoder))
    model.functions.extend(trt_bodies())
    _give_bodies_to_plugins(model)
    return model


def _give_bodies_to_plugins(model: onnx.ModelProto) -> None:
    """What our plugins compute; functions know no attributes but those of definitions."""
    calls = [node for node in model.graph.node if node.domain == DOMAIN]
    model.functions.extend(plugin_bodies({node.op_type for node in calls}))
    _give_back_codes(model, calls)
    for node in calls:
        own = [each for each in node.attribute if not each.name.startswith("plugin_")]
        assert len(node.attribute) == len(own) + 2, "a plugin has a namespace and a version"
        del node.attribute[:]
        node.attribute.extend(own)


def _give_back_codes(model: onnx.ModelProto, calls: list[onnx.NodeProto]) -> None:
    """Make uint8 again of the bytes that are int8 for TensorRT alone."""
    codes = {
        name
        for node in calls
        for name, port in zip(node.input, DEFINITIONS[node.op_type].inputs, strict=True)
        if port.dtype == "uint8"
    }
    stored = [tensor for tensor in model.graph.initializer if tensor.name in codes]
    assert len(stored) == len(codes)
    for tensor in stored:
        assert tensor.data_type == onnx.TensorProto.INT8
        tensor.data_type = onnx.TensorProto.UINT8


def _runnable_anywhere(manifest: Manifest) -> Manifest:
    """The manifest of an engine that no TensorRT runs."""
    rows = (
        tensor if tensor.kind == "kv" else dataclasses.replace(tensor, update="swap")
        for tensor in manifest.state
    )
    return dataclasses.replace(manifest, target="portable", state=StateLayout(tuple(rows)))
