"""Engines with plans that a fake TensorRT runs on a fake GPU."""

from __future__ import annotations

import ctypes
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from deltaport.package import FileEntry, Manifest, Plan
from deltaport.package.file_digest import file_digest
from deltaport.runtime.onnxruntime_library import onnxruntime_library
from deltaport.runtime.tensorrt_library import PLUGINS_VARIABLE, TENSORRT_VARIABLE
from deltaport.state_layout import CAPACITY

__all__ = ["FakeTensorRt", "give_plan"]

PLAN_NAME = "decoder.plan"


@dataclass(frozen=True)
class FakeTensorRt:
    """Libraries: TensorRT's, ours for it, and what stands for CUDA under both."""

    tensorrt: Path
    ours: Path
    cuda: Path

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let engines that are opened from now on find them."""
        patch.setenv(TENSORRT_VARIABLE, str(self.tensorrt))
        patch.setenv(PLUGINS_VARIABLE, str(self.ours))
        patch.setenv("FAKE_TENSORRT_ORT", str(onnxruntime_library()))

    def held(self) -> tuple[int, int]:
        """What nobody has given back: bytes, streams and graphs; runtimes, plans and contexts."""
        alive = ctypes.CDLL(str(self.tensorrt)).fake_tensorrt_alive
        return self._number("fake_cuda_allocated"), int(alive())

    def launches(self) -> int:
        """How many recorded steps ran."""
        return self._number("fake_cuda_launches")

    def _number(self, name: str) -> int:
        function = getattr(ctypes.CDLL(str(self.cuda)), name)
        function.restype = ctypes.c_size_t
        return int(function())


def give_plan(
    folder: Path, graph: onnx.ModelProto, *, slots: int, prefill_tokens: int, capacity: int
) -> None:
    """Put a plan of ``graph``, with its weights inside, into the engine folder."""
    for value in (*graph.graph.input, *graph.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == CAPACITY:
                dim.dim_value = capacity
    path = folder / PLAN_NAME
    head = f"fake plan {slots} {prefill_tokens}\n"
    path.write_bytes(head.encode() + graph.SerializeToString())
    file = folder / "manifest.json"
    manifest = Manifest.from_json(file.read_text(), source=str(file))
    plan = Plan(PLAN_NAME, "TensorRT 11.4.0", "this", slots, prefill_tokens, capacity)
    entry = FileEntry(PLAN_NAME, path.stat().st_size, file_digest(path))
    others = tuple(each for each in manifest.files if each.path != PLAN_NAME)
    file.write_text(dataclasses.replace(manifest, plan=plan, files=(*others, entry)).to_json())
