"""Modules that Python finds in place of TensorRT's: they build nothing, and say so as it would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from deltaport.decoder_interface import LOGITS, STEP_INPUTS
from deltaport.exporter.tensorrt.build_process import build_apart
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from deltaport.state_layout import StateLayout

__all__ = ["build", "install_rtx", "install_tensorrt"]

MODULE = """
import json, os
from types import SimpleNamespace
__version__ = "1.7.2"
class ILogger:
    ERROR = INTERNAL_ERROR = 0
    WARNING = 1
class ComputeCapability:
    __members__ = {"NONE": 0, "SM89": 89}
class BuilderFlag:
    TF32 = 0
class ProfilingVerbosity:
    DETAILED = 2
class Config:
    num_compute_capabilities = 0
    def __init__(self, logger): self.logger = logger
    def clear_flag(self, flag): print("a library that prints")
    def set_compute_capability(self, capability, index): assert capability == 89
    def add_optimization_profile(self, profile): pass
class Builder:
    def __init__(self, logger): self.logger = logger
    def create_builder_config(self): return Config(self.logger)
    def create_network(self, flags): return Network()
    def create_optimization_profile(self): return SimpleNamespace(set_shape=lambda *_: None)
    def build_serialized_network(self, network, config): return b"a plan"
class NetworkDefinitionCreationFlag:
    STRONGLY_TYPED = 0
class Network:
    inputs, outputs = {}, {}
    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))
    def get_input(self, i): return tensor(self.inputs, i, "INT64")
    def get_output(self, i): return tensor(self.outputs, i, "FLOAT")
def tensor(shapes, i, dtype):
    name, shape = [*shapes.items()][i]
    return SimpleNamespace(name=name, shape=shape, dtype=SimpleNamespace(name=dtype))
class OnnxParser:
    def __init__(self, network, logger): self.logger = logger
    def parse(self, data, path):
        %s
"""

_SHAPES = {
    name: tuple(-1 if isinstance(size, str) else size for size in dims)
    for name, dims in STEP_INPUTS.items()
}

# Times are bytes here, to which a build adds its own. What TensorRT cannot read it takes for none.
WITH_GPU = f"""
import deltaport.exporter.tensorrt.build_plan
deltaport.exporter.tensorrt.build_plan.driver_version = lambda: 13000
Network.inputs = {_SHAPES!r}
Network.outputs = {{{LOGITS!r}: (-1, 24)}}
class Cache:
    def __init__(self, data): self.data = data
    def serialize(self): return self.data + b"+measured"
def create_timing_cache(self, data):
    if data == b"nothing":
        return None
    if data.startswith(b"of another version"):
        self.logger.log(int(data[-1:]), "Version tag does not match")
        self.logger.log(int(data[-1:]), "The timing cache will not be used!")
        return Cache(b"")
    return Cache(data)
Config.create_timing_cache = create_timing_cache
def create_builder_config(self):
    self.logger.log(1, "CUDA lazy loading is not enabled.")  # nothing to do with times
    return Config(self.logger)
Builder.create_builder_config = create_builder_config
Config.set_timing_cache = lambda self, cache, ignore_mismatch: (
    cache.data != b"of another GPU" and not ignore_mismatch)
"""


def install_rtx(folder: Path, parse: str = "return True", more: str = "") -> None:
    """TensorRT-RTX whose networks have no inputs, unless ``more``, which is run last, has some."""
    (folder / "tensorrt_rtx.py").write_text(MODULE % parse + more)


def install_tensorrt(folder: Path, more: str = "") -> None:
    """TensorRT on a machine with a GPU, which builds a decoder without state."""
    (folder / "tensorrt_rtx.py").write_text("raise ModuleNotFoundError('it is not installed')")
    text = MODULE % "return True" + "del ComputeCapability\n__version__ = '11.4.0'\n"
    (folder / "tensorrt.py").write_text(text + WITH_GPU + more)


def build(folder: Path, stages: list[str] | None = None, **options: Any) -> str:
    """Have a process of its own build ``decoder.plan`` and ``layers.json`` in ``folder``."""
    decoder = folder / "decoder.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [])), str(decoder))
    return build_apart(
        decoder,
        folder / "decoder.plan",
        folder / "layers.json",
        StateLayout(()),
        capacity=4096,
        options=PlanOptions(**{"gpu": "sm89"} | options),
        stage=[].append if stages is None else stages.append,
    )
