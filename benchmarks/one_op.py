"""Sessions of a single op: by our kernel, and by the contrib ops that ``ort-cuda`` lowers it to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from deltaport.custom_ops.definitions import BODY_OPSET, DOMAIN, DOMAIN_VERSION, OpDefinition
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.lower.lower_to_contrib import LowerToContrib
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.recipes.region import Region
from deltaport.runtime.kernel_library import kernel_library
from deltaport.state_layout import StateLayout

__all__ = [
    "Array",
    "BoundRun",
    "bound_run",
    "model_bytes",
    "our_model",
    "peer_model",
    "session",
]

Array = NDArray[Any]


class _Arrays:
    """A checkpoint of arrays in memory."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays

    def read(self, name: str, region: Region) -> Array:
        return self.arrays[name][tuple(slice(*bounds) for bounds in region)].copy()

    def release(self, name: str) -> None:
        pass


def our_model(
    op: OpDefinition, feeds: Mapping[str, Array], attributes: Mapping[str, Any], weights: set[str]
) -> ir.Model:
    """One call of ``op`` on inputs shaped as ``feeds``; ``weights`` are stored in the model."""

    def info(name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, dtype, shape)

    names = [port.name for port in op.inputs], [port.name for port in op.outputs]
    node = helper.make_node(op.name, *names, domain=DOMAIN, **attributes)
    inputs = [
        info(name, feeds[name].shape, helper.np_dtype_to_tensor_dtype(feeds[name].dtype))
        for name in names[0]
    ]
    outputs = [info(port.name, port.shape.split(",")) for port in op.outputs]
    opsets = [helper.make_opsetid("", BODY_OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    graph = helper.make_graph([node], op.name, inputs, outputs)
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=12))
    for value in [value for value in model.graph.inputs if value.name in weights]:
        assert value.name is not None
        model.graph.inputs.remove(value)
        array = feeds[value.name]
        value.const_value = RecipeTensor(Source(value.name, array.shape, array.dtype), value.name)
        model.graph.register_initializer(value)
    set_layout(model, StateLayout(()))
    return model


def peer_model(
    op: OpDefinition, feeds: Mapping[str, Array], attributes: Mapping[str, Any], weights: set[str]
) -> ir.Model:
    """The same in ops of onnxruntime."""
    model = our_model(op, feeds, attributes, weights)
    LowerToContrib()(model)
    return model


class BoundRun:
    """A session with every input and output bound, each state to the input it comes in by."""

    def __init__(
        self, session: ort.InferenceSession, feeds: Mapping[str, Array], states: Mapping[str, str]
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._values = {
            each.name: _ort_value(feeds[each.name].copy()) for each in session.get_inputs()
        }
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            if output.name in states:
                self._binding.bind_ortvalue_output(output.name, self._values[states[output.name]])
            else:
                self._binding.bind_output(output.name, "cpu")

    def __call__(self) -> None:
        """Run once."""
        self._session.run_with_iobinding(self._binding)

    def first_output(self) -> Array:
        """A copy of what the last run gave."""
        array: Array = self._binding.get_outputs()[0].numpy().copy()
        return array


def model_bytes(model: ir.Model, weights: Mapping[str, Array]) -> bytes:
    """``model`` with the weights it only refers to."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, RecipeTensor):
            data = b"".join(evaluate(tensor.recipe, _Arrays(weights)))
            array = np.frombuffer(data, tensor.recipe.dtype).reshape(tensor.recipe.shape)
            value.const_value = ir.Tensor(array, dtype=tensor.dtype, name=name)
    data = ir.to_proto(model).SerializeToString()
    assert isinstance(data, bytes)
    return data


def session(model: bytes, threads: int) -> ort.InferenceSession:
    """``model`` on this many threads, with our kernels."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.register_custom_ops_library(str(kernel_library()))
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bound_run(
    model: ir.Model, feeds: Mapping[str, Array], states: Mapping[str, str], threads: int
) -> BoundRun:
    """A session of ``model`` on this many threads, ready to run."""
    return BoundRun(session(model_bytes(model, feeds), threads), feeds, states)


def _ort_value(array: Array) -> ort.OrtValue:
    if array.dtype == ml_dtypes.bfloat16:  # unknown to onnxruntime's bridge to numpy
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), TensorProto.BFLOAT16
        )
    return ort.OrtValue.ortvalue_from_numpy(array)
