"""Engines that TensorRT for RTX builds of models with our ops.

Its package runs without a GPU, for every architecture.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deltaport.custom_ops.definitions import (
    BODY_OPSET,
    DEFINITIONS,
    DOMAIN,
    DOMAIN_VERSION,
)
from deltaport.exporter.tensorrt.own_library import link_library
from tests.end_to_end.cpp_programs import run
from tests.tensorrt.mock_host import REQUIRED
from tests.tensorrt.rtx import plan_gpus, require_rtx
from tests.tensorrt.test_plugins import SIZES as SMALL
from tests.tensorrt.test_plugins import types
from tests.tensorrt.test_ports import OPS

ARCHITECTURES = tuple(gpu.upper() for gpu in plan_gpus())
DTYPES = {
    "float32": TensorProto.FLOAT,
    "bfloat16": TensorProto.BFLOAT16,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int8": TensorProto.INT8,
}
SIZES = SMALL | {"Dk": 128, "Dv": 128, "C": 2 * 2 * 128 + 4 * 128, "E": 8, "I": 32, "Is": 48}
MATRICES = ("gate_up", "down", "shared_gate_up", "shared_down")
PARAMETERS = ("weight", "A_log", "dt_bias", "norm", "shared_gate", *MATRICES)
PARAMETERS += tuple(f"{name}_scales" for name in MATRICES)


def shape(text: str, sizes: dict[str, int]) -> list[int | str]:
    return [d if d in ("B", "T") else eval(d, {}, sizes) for d in text.split(",")]


class Model:
    """A convolution whose output both forms of the rule read, and mixtures of experts.

    Parameters are stored in it.
    """

    def __init__(self, dtype: str, **sizes: int) -> None:
        self.dtype, self.sizes = dtype, SIZES | sizes
        self.inputs: dict[str, Any] = {}
        self.outputs: list[Any] = []
        self.parameters: list[Any] = []
        self.nodes: list[Any] = []
        for op in OPS:
            self.call(op)

    def call(self, op: str) -> None:
        """A node, which reads as ``qkv`` what the convolution gives."""
        definition, ports = DEFINITIONS[op], {}
        named = zip((*definition.inputs, *definition.outputs), types(op, self.dtype), strict=True)
        for port, dtype in named:
            name = port.name if port.name == "lengths" else f"{op}_{port.name}"
            ports[port.name] = name = "CausalConv1d_y" if port.name == "qkv" else name
            extents = shape(port.shape, self.sizes)
            value = helper.make_tensor_value_info(name, DTYPES[dtype], extents)
            if port in definition.outputs:
                self.outputs.append(value)
            elif port.name in PARAMETERS:
                known = [int(extent) for extent in extents]
                values = np.ones(known, helper.tensor_dtype_to_np_dtype(DTYPES[dtype]))
                self.parameters.append(numpy_helper.from_array(values, name))
            elif port.name != "qkv":
                self.inputs[name] = value
        attributes = {
            name: REQUIRED[name] if given.default is None else given.default
            for name, given in definition.attributes.items()
        }
        self.nodes.append(
            helper.make_node(
                op,
                [ports[port.name] for port in definition.inputs],
                [ports[port.name] for port in definition.outputs],
                name=op,
                domain=DOMAIN,
                plugin_namespace=DOMAIN,
                plugin_version=str(DOMAIN_VERSION),
                **attributes,
            )
        )

    def save(self, to: Path) -> Path:
        graph = helper.make_graph(
            self.nodes, "every_op", [*self.inputs.values()], self.outputs, self.parameters
        )
        opsets = [helper.make_opsetid("", BODY_OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=11), to)
        return to


@pytest.fixture(scope="module")
def built(cuda_library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``build_engines.py`` prints, and what plugins wrote to standard error."""
    require_rtx()
    folder = tmp_path_factory.mktemp("rtx")
    models = {dtype: Model(dtype) for dtype in ("float32", "bfloat16", "float16")}
    models["wide"] = Model("bfloat16", Dk=256, C=2 * 2 * 256 + 4 * 128)
    paths = [model.save(folder / f"{name}.onnx") for name, model in models.items()]
    program = Path(__file__).with_name("build_engines.py")
    done = run(
        Path(sys.executable),
        program,
        cuda_library,
        ",".join(ARCHITECTURES),
        *paths,
        environment=link_library(folder),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"stderr": done.stderr}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_engines_are_built_for_every_architecture(built: dict[str, Any], dtype: str) -> None:
    model = built[dtype]
    assert model["errors"] == []
    assert model["plugins"] == len(OPS)
    assert list(model["engines"]) == list(ARCHITECTURES)
    assert all(size > 0 for size in model["engines"].values()), model["said"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_nothing_is_amiss_in_the_graph(built: dict[str, Any], dtype: str) -> None:
    said = built[dtype]["said"]
    assert said
    assert [text for _, text in said if "Unused Input" in text or "not found" in text] == []
    assert [text for severity, text in said if "ERROR" in severity] == []


def test_an_op_says_why_it_refuses_a_model(built: dict[str, Any]) -> None:
    """To the logger, where the headers the library was built with are those of this version."""
    assert built["wide"]["errors"]
    reason = "deltaport: GatedDeltaRule: Dk is 256, but the kernel takes 1 to 128"
    logged = [text for severity, text in built["wide"]["said"] if severity == "ERROR"]
    assert reason in (*logged, *built["stderr"].splitlines())
