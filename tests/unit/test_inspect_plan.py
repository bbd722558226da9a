"""What TensorRT tells of a plan's layers, and what is told where it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deltaport.package.plan_layers import PlanLayer
from tests.unit.stand_in_tensorrt import build, install_rtx, install_tensorrt

# Layers are those of the context's profile, once the context has shapes.
INSPECTOR = """
class LayerInformationFormat:
    JSON = 1
class ExecutionContextAllocationStrategy:
    USER_MANAGED = 2
class Context:
    def __init__(self, strategy): assert strategy == 2; self.shapes = {}
    def set_optimization_profile_async(self, profile, stream): self.profile = profile
    def set_input_shape(self, name, shape): self.shapes[name] = shape
class Inspector:
    def get_engine_information(self, form):
        assert form == 1
        shape = self.execution_context.shapes["input_ids"]
        profile = self.execution_context.profile
        return LAYERS.replace("SHAPE", str(list(shape))).replace("PROFILE", str(profile))
class Engine:
    create_execution_context = staticmethod(Context)
    create_engine_inspector = staticmethod(Inspector)
class Runtime:
    def __init__(self, logger): self.logger = logger
    def deserialize_cuda_engine(self, plan):
        assert bytes(plan) == b"a plan"
        return Engine
"""
FUSED = {
    "Name": "__myl_MulSum SHAPE [profile PROFILE]",
    "LayerType": "kgen",
    "Inputs": [{"Name": "x", "Format/Datatype": "BFloat16"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Float"}, {"Name": "z"}],
    "TacticName": "__myl_MulSum_0x1",
    "Metadata": "[ONNX Layer: a.mul]\x1f[ONNX Layer: a.sum]\x1e[ONNX Layer: a.mul]",
}
UNNOTED = {"Name": "b.mul + b.add", "LayerType": "gemm", "Outputs": []}


def told(folder: Path, layers: Any, more: str = "") -> Any:
    """What is in ``layers.json``."""
    text = json.dumps({"Layers": layers}) if isinstance(layers, list) else layers
    install_tensorrt(folder, f"LAYERS = {text!r}\n{INSPECTOR}{more}")
    stages: list[str] = []
    assert build(folder, stages, gpu=None) == "TensorRT 11.4.0"
    assert (folder / "decoder.plan").read_bytes() == b"a plan"
    assert stages[-1] == "reading the plan's layers"
    return json.loads((folder / "layers.json").read_text())


def row(*fields: Any) -> Any:
    return json.loads(json.dumps(PlanLayer(*fields).__dict__))


def test_each_kind_of_step_has_its_layers(stand_in: Path) -> None:
    found = told(stand_in, [FUSED, UNNOTED, "a name alone"])
    nodes, outputs = ("a.mul", "a.sum"), ("Float", "")
    rest = [row("b.mul + b.add", "gemm", (), ("b.mul", "b.add"), "")]
    rest += [row("a name alone", "", (), (), "")]
    assert found["untold"] == ""
    for step, name in (
        ("decode", "__myl_MulSum [1, 1] [profile 0]"),
        ("prefill", "__myl_MulSum [1, 512] [profile 1]"),
    ):
        assert found["steps"][step] == [
            row(name, "kgen", outputs, nodes, FUSED["TacticName"]),
            *rest,
        ]
    assert list(found["steps"]) == ["decode", "prefill"]


def test_plans_for_other_gpus_are_not_asked(stand_in: Path) -> None:
    install_rtx(stand_in, more=_contract())
    build(stand_in, gpu="sm89")
    assert (stand_in / "decoder.plan").read_bytes() == b"a plan"
    assert not (stand_in / "layers.json").exists()


def _contract() -> str:
    from tests.unit.stand_in_tensorrt import WITH_GPU

    return WITH_GPU


@pytest.mark.parametrize(
    ("layers", "more", "why"),
    [
        ("[]", "", "TypeError: "),
        ("{", "", "JSONDecodeError: "),
        ([{"LayerType": "gemm"}], "", "KeyError: 'Name'"),
        (
            [],
            "def none(self, plan): self.logger.log(0, 'no memory')\n"
            "Runtime.deserialize_cuda_engine = none",
            "RuntimeError: the plan cannot be loaded: no memory",
        ),
        (
            [],
            "Engine.create_execution_context = lambda strategy: None",
            "RuntimeError: no context of the plan can be made: it does not say why",
        ),
        (
            [],
            "Runtime.__init__ = lambda *_: os.kill(os.getpid(), 11)",
            "TensorRT ended with SIGSEGV",
        ),
        (["x" * 1000], "layers_limit(100)", "more than 0 MiB"),
    ],
)
def test_a_plan_is_good_without(stand_in: Path, layers: Any, more: str, why: str) -> None:
    limit = """
def layers_limit(bytes):
    import deltaport.exporter.tensorrt.inspect_plan as module
    module.LAYERS_LIMIT = bytes
"""
    found = told(stand_in, layers, limit + more)
    assert found["steps"] == {}
    assert found["untold"].startswith(why)
