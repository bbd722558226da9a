"""Builds engines of models with TensorRT for RTX, which needs no GPU for it.

A program for a Python that has ``tensorrt_rtx``, whatever else it lacks::

    python build_engines.py libdeltaport_tensorrt.so SM80,SM120 model.onnx...

It prints JSON: of each model the errors of its parser, the bytes of its engines, and what was said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx as trt

FEW, USUAL, MANY = (1, 1), (1, 8), (4, 64)
"""Rows and tokens of the profile."""


class Logger(trt.ILogger):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []

    def log(self, severity: Any, message: str) -> None:
        self.said.append((severity.name, message))


def build(builder: Any, logger: Logger, model: Path, architectures: list[str]) -> dict[str, Any]:
    logger.said.clear()
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parser.parse(model.read_bytes())
    errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    engines = {}
    for name in architectures if not errors else []:
        plan = builder.build_serialized_network(network, configuration(builder, network, name))
        engines[name] = 0 if plan is None else plan.nbytes
    return {
        "errors": errors,
        "plugins": sum(layer.type == trt.LayerType.PLUGIN_V3 for layer in layers),
        "engines": engines,
        "said": [*logger.said],
    }


def configuration(builder: Any, network: Any, architecture: str) -> Any:
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, architecture), 0)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        profile.set_shape(
            tensor.name, *(known(tensor.shape, sizes) for sizes in (FEW, USUAL, MANY))
        )
    config.add_optimization_profile(profile)
    return config


def known(shape: Any, sizes: tuple[int, int]) -> list[int]:
    """The shape with rows and tokens where it leaves them open."""
    return [size if size >= 0 else sizes[axis] for axis, size in enumerate(shape)]


def main() -> None:
    library, architectures, *models = sys.argv[1:]
    logger = Logger()
    builder = trt.Builder(logger)
    trt.get_plugin_registry().load_library(library)
    found = {
        Path(model).stem: build(builder, logger, Path(model), architectures.split(","))
        for model in models
    }
    print(json.dumps(found))


main()
