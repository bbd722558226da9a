"""Runs one of our ops as its expansion for a backend does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from deltaport.custom_ops.definitions import BODY_OPSET, DOMAIN, OpDefinition, Port
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.lower.expand.value_types import TENSORRT
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.recipes.region import Region
from deltaport.state_layout import StateLayout
from tests.kernels.op_runner import Attributes, Feeds
from tests.oracles import Array
from tests.trt_bodies import trt_bodies

__all__ = ["Arrays", "evaluated", "lowered", "one_call", "run_lowered", "session"]

PER_STEP = {"B": "batch", "T": "tokens", "capacity": "capacity"}
"""Dimensions that a step chooses; all others are known when the pass runs."""


class Arrays:
    """A checkpoint of arrays in memory."""

    def __init__(self, arrays: Feeds) -> None:
        self.arrays = arrays

    def read(self, name: str, region: Region) -> NDArray[Any]:
        return self.arrays[name][tuple(slice(*bounds) for bounds in region)].copy()

    def release(self, name: str) -> None:
        pass


def one_call(
    op: OpDefinition, feeds: Feeds, attributes: Attributes, weights: Sequence[str]
) -> ir.Model:
    """A graph of one call of ``op`` with an empty state layout; ``weights`` are its recipes."""

    def info(port: Port, array: Array | None) -> Any:
        dims = port.shape.split(",")
        shape = [
            PER_STEP.get(dim, dim if array is None else array.shape[axis])
            for axis, dim in enumerate(dims)
        ]
        kind = TensorProto.FLOAT if array is None else helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(port.name, kind, shape)

    names = [port.name for port in op.inputs], [port.name for port in op.outputs]
    node = helper.make_node(op.name, *names, domain=DOMAIN, **attributes)
    graph = helper.make_graph(
        [node],
        "one_op",
        [info(port, feeds[port.name]) for port in op.inputs],
        [info(port, None) for port in op.outputs],
    )
    opsets = [helper.make_opsetid("", BODY_OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=12))
    for value in [value for value in model.graph.inputs if value.name in weights]:
        assert value.name is not None
        model.graph.inputs.remove(value)
        array = feeds[value.name]
        value.const_value = RecipeTensor(Source(value.name, array.shape, array.dtype), value.name)
        model.graph.register_initializer(value)
    set_layout(model, StateLayout(()))
    return model


def lowered(
    lowering: GraphPass,
    op: OpDefinition,
    feeds: Feeds,
    attributes: Attributes,
    weights: Sequence[str],
) -> ir.Model:
    """The same graph in a backend's ops, of which every value has a dtype and a shape."""
    model = one_call(op, feeds, attributes, weights)
    assert lowering(model).modified
    for node in model.graph:
        assert node.domain != DOMAIN
        assert all(v.dtype and v.shape is not None for v in node.outputs if v.name)
    return model


def evaluated(model: ir.Model, arrays: Feeds) -> onnx.ModelProto:
    """The model with its weights, evaluated from ``arrays``."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, RecipeTensor):
            data = b"".join(evaluate(tensor.recipe, Arrays(arrays)))
            stored = helper.make_tensor(
                name, tensor.dtype.value, tensor.recipe.shape, data, raw=True
            )
            value.const_value = ir.serde.deserialize_tensor(stored)
    proto = ir.to_proto(model)
    if TENSORRT in model.graph.opset_imports:
        proto.functions.extend(trt_bodies())
    return proto


def session(
    model: ir.Model, arrays: Feeds, level: str = "ORT_ENABLE_ALL"
) -> onnxruntime.InferenceSession:
    """A session on the CPU, weights evaluated from ``arrays``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    data = evaluated(model, arrays).SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_lowered(
    runner: onnxruntime.InferenceSession, feeds: Mapping[str, Array]
) -> tuple[Array, ...]:
    """The outputs in declared order."""
    wanted = {each.name for each in runner.get_inputs()}
    results = runner.run(None, {name: feeds[name] for name in feeds if name in wanted})
    return tuple(results)
