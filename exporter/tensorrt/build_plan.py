"""Parse a lowered decoder, prove that it was understood, and build a plan of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from deltaport.decoder_interface import LOGITS, STEP_INPUTS
from deltaport.errors import EngineError, InputError, PassError
from deltaport.exporter.tensorrt.parser_log import collecting_logger
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from deltaport.exporter.tensorrt.plugins import load_plugins
from deltaport.exporter.tensorrt.step_shapes import step_kinds
from deltaport.exporter.tensorrt.tensorrt_library import (
    TensorRt,
    driver_version,
    require_driver,
)
from deltaport.exporter.tensorrt.timing_cache import TimingCache
from deltaport.state_layout import CAPACITY, StateLayout

__all__ = ["PlanBuilder", "build_plan", "plan_builder"]

_DTYPE_NAMES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT64": "int64"}


@dataclass(frozen=True)
class PlanBuilder:
    """TensorRT's builder, which tells ``logger`` what happens, and how to build for a GPU."""

    tensorrt: TensorRt
    logger: Any
    builder: Any
    config: Any
    times: TimingCache | None


def build_plan(
    made: PlanBuilder,
    decoder: Path,
    layout: StateLayout,
    *,
    capacity: int,
    options: PlanOptions,
    stage: Callable[[str], None] = lambda _: None,
) -> memoryview:
    """Build ``decoder``, a graph with its weights beside it, for steps of the sizes in ``options``.

    Raises ``EngineError`` with what TensorRT says where it does not build, and ``PassError`` where
    the parser left an input unused or the network is another than ``layout`` says: it would compute
    something else without a word. Times that were measured are kept, if they are, once it is built.
    """
    tensorrt, logger, builder, config = made.tensorrt, made.logger, made.builder, made.config
    trt = tensorrt.module
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    stage("parsing the graph for TensorRT")
    if not parser.parse(_with_capacity(decoder, capacity), str(decoder)):
        raise EngineError(f"{decoder.name}: {tensorrt.flavour} refuses it: {logger.last}")
    if logger.unused:
        raise PassError(f"{tensorrt.flavour} would ignore an input: {logger.unused[0]}")
    _check_interface(network, layout, capacity)
    for kind in step_kinds(options.slots, options.prefill_tokens):
        profile = builder.create_optimization_profile()
        for name, shapes in kind.shapes(layout, capacity):
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
    stage(f"building with {tensorrt.flavour}")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{decoder.name}: {tensorrt.flavour} does not build it: {logger.last}")
    return memoryview(plan)


def plan_builder(tensorrt: TensorRt, options: PlanOptions) -> PlanBuilder:
    """A builder for what ``options`` say.

    Raises ``InputError`` for a GPU that cannot be built for, or is not there, for plugins that are
    not, and for measured times that cannot be gone by.
    """
    gpu = options.gpu
    if gpu is None:
        require_driver(tensorrt, driver_version())
    trt = tensorrt.module
    logger = collecting_logger(trt)
    builder = trt.Builder(logger)
    if options.plugins is not None:
        load_plugins(tensorrt, options.plugins)
    config = builder.create_builder_config()
    # The gated delta rule is float32: products rounded to TF32 would spoil its triangular solve.
    config.clear_flag(trt.BuilderFlag.TF32)
    # A step that takes memory as it runs cannot be recorded as a CUDA graph.
    no_allocation = getattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
    if no_allocation is not None:
        config.set_flag(no_allocation)
    if gpu is None:
        # So that the plan can tell what its layers are; those who run it choose less.
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    else:
        _set_gpu(tensorrt, config, gpu)
    file = options.timing_cache
    times = None if file is None else TimingCache(tensorrt, config, logger, file)
    return PlanBuilder(tensorrt, logger, builder, config, times)


def _set_gpu(tensorrt: TensorRt, config: Any, gpu: str) -> None:
    if not tensorrt.builds_for_others:
        raise InputError(
            f"--gpu {gpu}: {tensorrt.flavour} builds for the GPU it runs on alone; leave the "
            "option out, or install tensorrt-rtx-cu13"
        )
    known = {
        name.lower(): each for name, each in tensorrt.module.ComputeCapability.__members__.items()
    }
    if not gpu.startswith("sm") or gpu not in known:
        able = ", ".join(name for name in known if name.startswith("sm"))
        raise InputError(
            f"--gpu {gpu}: {tensorrt.flavour} {tensorrt.version} builds for {able} alone"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[gpu], 0)


def _with_capacity(decoder: Path, capacity: int) -> bytes:
    """The graph with caches of one size: TensorRT updates no others."""
    model = onnx.load(str(decoder), load_external_data=False)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == CAPACITY:
                dim.dim_value = capacity
    data: bytes = model.SerializeToString()
    return data


def _check_interface(network: Any, layout: StateLayout, capacity: int) -> None:
    """Names, dtypes and shapes of the network are those of the contract."""
    inputs = {each.name: each for each in map(network.get_input, range(network.num_inputs))}
    outputs = {each.name: each for each in map(network.get_output, range(network.num_outputs))}
    for what, found, expected in (
        ("inputs", inputs, {*STEP_INPUTS, *(tensor.input for tensor in layout)}),
        ("outputs", outputs, {LOGITS, *(tensor.output for tensor in layout)}),
    ):
        if found.keys() != expected:
            odd = sorted(found.keys() ^ expected)
            raise PassError(f"the network's {what} differ from the contract: {', '.join(odd)}")
    for name, dims in STEP_INPUTS.items():
        sizes = tuple(-1 if isinstance(dim, str) else dim for dim in dims)
        _check_tensor(inputs[name], "int64", sizes)
    _check_tensor(outputs[LOGITS], "float32", (-1, outputs[LOGITS].shape[-1]))
    for tensor in layout:
        shape = tensor.concrete_shape(-1, capacity)  # how many slots there are stays open
        for each in (inputs[tensor.input], outputs[tensor.output]):
            _check_tensor(each, tensor.dtype, shape)


def _check_tensor(tensor: Any, dtype: str, shape: tuple[int, ...]) -> None:
    found = _DTYPE_NAMES.get(tensor.dtype.name, tensor.dtype.name)
    if found != dtype or tuple(tensor.shape) != shape:
        raise PassError(
            f"{tensor.name} is {found} {tuple(tensor.shape)} in the network, expected {dtype} "
            f"{shape}"
        )
