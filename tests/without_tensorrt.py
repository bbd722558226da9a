"""Engines for TensorRT opened without it: stand-ins take the place of TensorRT's own ops."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx

from deltaport.package import Manifest
from deltaport.runtime import Engine
from deltaport.runtime.engine import open_decoder
from tests.trt_bodies import trt_bodies

__all__ = ["open_without_tensorrt", "runnable_anywhere"]


def open_without_tensorrt(folder: Path) -> Engine:
    """The engine's graph on onnxruntime's CPU provider; nothing else of it is changed."""
    manifest = Manifest.from_json((folder / "manifest.json").read_text(), source="manifest.json")
    model = onnx.load(str(folder / manifest.decoder))
    model.functions.extend(trt_bodies())
    own = runnable_anywhere(manifest)
    graph = model.SerializeToString()
    return Engine(folder, own, open_decoder(folder, own, graph=graph, threads=2))


def runnable_anywhere(manifest: Manifest) -> Manifest:
    """The manifest of an engine that no TensorRT runs."""
    return dataclasses.replace(manifest, target="portable")
