"""Runs a custom op in onnxruntime, by its function body or a kernel, and judges what comes back.

A one-node model with dynamic dimensions calls the op and carries its body as a model-local
function. That is what runs, unless :func:`implemented_by` chose our kernels: then a run is
repeated in every way that must give the same bits (:mod:`tests.kernels.kernel_invariants`).
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deltaport.custom_ops.definitions import (
    BODY_OPSET,
    DEFINITIONS,
    DOMAIN,
    DOMAIN_VERSION,
    OpDefinition,
)
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.runtime.kernel_library import ISA_VARIABLE, kernel_library
from tests.kernels.kernel_invariants import STATES, assert_same_bits, run_every_way
from tests.oracles import Array

__all__ = [
    "assert_close",
    "assert_same_bits",
    "implemented_by",
    "is_padding",
    "peak_growth",
    "poison_padding",
    "run_op",
]

Feeds = Mapping[str, Array]
Attributes = Mapping[str, int | float]
_ROOT = Path(__file__).resolve().parents[2]
BODY = "body"
"""The implementation that is no instruction set."""
_implementation = BODY


@contextmanager
def implemented_by(implementation: str) -> Iterator[None]:
    """Within: what runs ops, ``"body"`` or the instruction set of our kernels."""
    global _implementation
    before, _implementation = _implementation, implementation
    try:
        yield
    finally:
        _implementation = before


def run_op(
    op: OpDefinition,
    feeds: Feeds,
    attributes: Attributes | None = None,
    *,
    constants: tuple[str, ...] = (),
    optimized: bool = True,
) -> tuple[Array, ...]:
    """Run ``op`` and return its outputs in declared order.

    Inputs named in ``constants`` are stored in the model as initializers.
    """
    attributes = attributes or {}
    if constants:
        baked = {name: feeds[name] for name in constants}
        session = _session(_model(op, feeds, attributes, baked), optimized)
        return _run(session, {name: feeds[name] for name in feeds if name not in constants})

    def run(feeds: Feeds, *, threads: int = 2, in_place: bool = False) -> tuple[Array, ...]:
        dtypes = tuple(feeds[port.name].dtype for port in op.inputs)
        session = _cached_session(
            op.name, tuple(attributes.items()), dtypes, optimized, threads, _implementation
        )
        return _run_in_place(session, op, feeds) if in_place else _run(session, feeds)

    return run(feeds) if _implementation == BODY else run_every_way(op, feeds, run)


def peak_growth(op: OpDefinition, feeds: Feeds, attributes: Attributes, folder: Path) -> int:
    """Bytes by which running ``op`` raises the peak memory of a process holding its inputs."""
    model = _model(op, feeds, attributes, {})
    job = folder / "job.pickle"
    job.write_bytes(pickle.dumps((model, dict(feeds))))
    command = [sys.executable, "-m", "tests.kernels.op_runner", str(job)]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


def assert_close(actual: Array, expected: Array, quantity: Quantity = Quantity.OUTPUT) -> None:
    """Check fp32 results against the project's one tolerance policy."""
    assert actual.dtype == np.float32
    error, bound = relative_error(actual, expected), tolerance(quantity)
    assert error <= bound, f"{quantity}: relative error {error:.2e} exceeds {bound:.2e}"


def is_padding(T: int, lengths: Array) -> Array:
    """The mask [B,T] of padded tokens."""
    return np.arange(T) >= lengths[:, None]


def poison_padding(feeds: Feeds, *names: str) -> dict[str, Array]:
    """A copy of ``feeds`` whose padded tokens, in the inputs called ``names``, are NaN."""
    poisoned = {name: array.copy() for name, array in feeds.items()}
    for name in names:
        poisoned[name][is_padding(feeds[name].shape[1], feeds["lengths"])] = np.nan
    return poisoned


@cache
def _cached_session(
    name: str,
    attributes: tuple[tuple[str, int | float], ...],
    dtypes: tuple[np.dtype[Any], ...],
    optimized: bool,
    threads: int,
    implementation: str,
) -> onnxruntime.InferenceSession:
    op = DEFINITIONS[name]
    samples = {port.name: np.empty(0, dtype) for port, dtype in zip(op.inputs, dtypes, strict=True)}
    return _session(_model(op, samples, dict(attributes), {}), optimized, threads)


def _model(op: OpDefinition, samples: Feeds, attributes: Attributes, baked: Feeds) -> bytes:
    """A model of one ``op`` node whose inputs have the dtypes of ``samples``."""
    inputs = [
        helper.make_tensor_value_info(
            port.name,
            helper.np_dtype_to_tensor_dtype(samples[port.name].dtype),
            port.shape.split(","),
        )
        for port in op.inputs
        if port.name not in baked
    ]
    outputs = [
        helper.make_tensor_value_info(port.name, TensorProto.FLOAT, port.shape.split(","))
        for port in op.outputs
    ]
    names = [port.name for port in op.inputs], [port.name for port in op.outputs]
    node = helper.make_node(op.name, *names, domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    initializers = [numpy_helper.from_array(array, name) for name, array in baked.items()]
    model = helper.make_model(
        helper.make_graph([node], "one_op", inputs, outputs, initializers),
        functions=[op.function],
        opset_imports=[
            helper.make_opsetid("", BODY_OPSET),
            helper.make_opsetid(DOMAIN, DOMAIN_VERSION),
        ],
        ir_version=11,
    )
    onnx.checker.check_model(model, full_check=not baked)
    serialized: bytes = model.SerializeToString()
    return serialized


def _session(model: bytes, optimized: bool, threads: int = 2) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    )
    if _implementation != BODY:
        options.register_custom_ops_library(str(kernel_library()))
        # Memory of its own for every tensor, so that a sanitizer sees what lies beside it.
        options.enable_cpu_mem_arena = False
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ISA_VARIABLE, _implementation)
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run_in_place(
    session: onnxruntime.InferenceSession, op: OpDefinition, feeds: Feeds
) -> tuple[Array, ...]:
    """Run with each state bound as the input and as the output it becomes."""
    feeds = {name: np.array(array, order="C") for name, array in feeds.items()}
    binding, kept = session.io_binding(), {}
    for port in op.inputs:
        kept[port.name] = _ort_value(feeds[port.name])
        binding.bind_ortvalue_input(port.name, kept[port.name])
    for port in op.outputs:
        past = STATES.get(port.name)
        if past is None:
            binding.bind_output(port.name, "cpu")
        else:
            binding.bind_ortvalue_output(port.name, kept[past])
    session.run_with_iobinding(binding)
    return _copies(binding.get_outputs())


def _run(session: onnxruntime.InferenceSession, feeds: Feeds) -> tuple[Array, ...]:
    contiguous = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
    values = {name: _ort_value(array) for name, array in contiguous.items()}
    return _copies(session.run_with_ort_values(None, values))


def _copies(values: Sequence[onnxruntime.OrtValue]) -> tuple[Array, ...]:
    # What numpy() gives is gone with the value.
    return tuple(value.numpy().copy() for value in values)


def _ort_value(array: Array) -> onnxruntime.OrtValue:
    # onnxruntime's NumPy bridge does not know bfloat16 and takes its bits instead.
    if array.dtype == ml_dtypes.bfloat16:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), TensorProto.BFLOAT16
        )
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _memory(field: str) -> int:
    """A size from /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def _measure(job: Path) -> int:
    model, feeds = pickle.loads(job.read_bytes())
    session = _session(model, optimized=True)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts over from here
    before = _memory("VmRSS")
    _run(session, feeds)
    return _memory("VmHWM") - before


if __name__ == "__main__":
    print(_measure(Path(sys.argv[1])))
