"""One measurement of ``benchmarks.quantized_kernels``, and the peer's op in a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import TensorProto, helper, numpy_helper

from benchmarks.one_op import Array

__all__ = ["QuantizedCase", "peer_op"]


@dataclass(frozen=True)
class QuantizedCase:
    """One measurement. ``peers`` are the settings of the peer's op, of which the fastest counts.

    ``operations`` and ``bytes`` are what the op cannot do without, as in ``kernel_cases``.
    """

    name: str
    feeds: dict[str, Array]
    ours: bytes
    peers: dict[str, bytes]
    exact: Callable[[], Array]
    operations: float
    bytes: float


def peer_op(
    op: str,
    inputs: Sequence[str],
    weights: Mapping[str, Array],
    attributes: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int | str]],
) -> bytes:
    """A model of one op of onnxruntime; ``shapes`` are of the inputs that are no weights."""
    node = helper.make_node(op, inputs, ["y"], domain="com.microsoft", **attributes)
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "peer", given, [y], stored)
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return model
