"""What a plan is made of, asked of TensorRT: its layers, their dtypes, and the nodes in each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from deltaport.exporter.tensorrt.build_plan import PlanBuilder
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from deltaport.exporter.tensorrt.step_shapes import StepKind, step_kinds
from deltaport.package.plan_layers import LAYERS_LIMIT, PlanLayer, PlanLayers
from deltaport.state_layout import StateLayout

__all__ = ["layers_text"]

_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
"""How TensorRT's parser notes the node a layer was made of; fused layers have the notes of all."""


def layers_text(
    made: PlanBuilder,
    plan: memoryview,
    layout: StateLayout,
    *,
    capacity: int,
    options: PlanOptions,
) -> str:
    """``layers.json`` of a plan for the GPU of this machine, loaded for it.

    Never raises: the plan is good without, so where TensorRT does not tell, the text says why.
    """
    try:
        steps = dict(_steps(made, plan, layout, capacity, options))
        text = PlanLayers(steps).to_json()
    except Exception as error:  # what it tells is for people: its form may be another next year
        return PlanLayers({}, f"{type(error).__name__}: {error}").to_json()
    if len(text) > LAYERS_LIMIT:
        return PlanLayers({}, f"more than {LAYERS_LIMIT >> 20} MiB").to_json()
    return text


def _steps(
    made: PlanBuilder, plan: memoryview, layout: StateLayout, capacity: int, options: PlanOptions
) -> Iterator[tuple[str, tuple[PlanLayer, ...]]]:
    trt = made.tensorrt.module
    runtime = trt.Runtime(made.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise RuntimeError(f"the plan cannot be loaded: {made.logger.last}")
    inspector = engine.create_engine_inspector()
    for profile, kind in enumerate(step_kinds(options.slots, options.prefill_tokens)):
        # Formats depend on shapes, so without a context that has some they are not told.
        context = _context(trt, engine, profile, kind, layout, capacity)
        if context is None:
            raise RuntimeError(f"no context of the plan can be made: {made.logger.last}")
        inspector.execution_context = context
        told = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
        yield kind.name, tuple(map(_layer, told["Layers"]))


def _context(
    trt: Any, engine: Any, profile: int, kind: StepKind, layout: StateLayout, capacity: int
) -> Any:
    """A context for steps of the most usual size, without the memory to run them."""
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if context is not None:
        default_stream = 0
        context.set_optimization_profile_async(profile, default_stream)
        for name, (_, usual, _) in kind.shapes(layout, capacity):
            context.set_input_shape(name, usual)
    return context


def _layer(told: Mapping[str, Any] | str) -> PlanLayer:
    """A layer, of which there may be no more than the name."""
    if isinstance(told, str):
        return PlanLayer(told, "", (), (), "")
    name, notes = str(told["Name"]), told.get("Metadata")
    # Without notes a fused layer has at least the names of all that is in it.
    nodes = name.split(" + ") if notes is None else _NODE.findall(str(notes))
    return PlanLayer(
        name,
        str(told.get("LayerType", "")),
        tuple(str(each.get("Format/Datatype", "")) for each in told.get("Outputs", ())),
        tuple(dict.fromkeys(nodes)),
        str(told.get("TacticName", "")),
    )
