"""The plan of an engine folder that is being written."""

from __future__ import annotations

from pathlib import Path

from deltaport.exporter.export_plan import ExportEvents
from deltaport.exporter.tensorrt.build_process import build_apart
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from deltaport.exporter.write_package import DECODER_NAME
from deltaport.package import Plan
from deltaport.package.plan_layers import LAYERS_NAME
from deltaport.state_layout import StateLayout

__all__ = ["PLAN_NAME", "write_plan"]

PLAN_NAME = "decoder.plan"


def write_plan(
    folder: Path,
    *,
    options: PlanOptions,
    capacity: int,
    layout: StateLayout,
    events: ExportEvents,
) -> Plan:
    """Make a plan of the graph in ``folder``, and write what its layers are, if they can be told.

    Raises what :func:`build_apart` does.
    """
    builder = build_apart(
        folder / DECODER_NAME,
        folder / PLAN_NAME,
        folder / LAYERS_NAME,
        layout,
        capacity=capacity,
        options=options,
        stage=events.stage,
    )
    return Plan(
        file=PLAN_NAME,
        builder=builder,
        gpu=options.gpu or "this",
        slots=options.slots,
        prefill_tokens=options.prefill_tokens,
        capacity=capacity,
    )
