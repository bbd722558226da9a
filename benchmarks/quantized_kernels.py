"""Our kernels for int4 weights against onnxruntime's, on the same weights.

The peers are ``MatMulNBits`` and ``QMoE``, with the setting that is fastest. Both sides run in this
process, taking turns. Times are microseconds, medians of the rounds; errors are against float64,
relative to the largest value. ``limit_share`` is the larger of two shares, both measured here: of
the bandwidth, and of the rate of int8 products by onnxruntime's MatMulInteger. It is above 1 where
weights stay in the cache, or our products are faster than those.

    python -m benchmarks.quantized_kernels --case 2048x8192 --threads 1 --json figures.json
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from benchmarks.kernels import turn
from benchmarks.one_op import Array, BoundRun, session
from benchmarks.quantized_case import QuantizedCase
from benchmarks.quantized_cases import quantized_cases
from benchmarks.report import Row, print_table, write_json
from deltaport.bench.memory_bandwidth import read_bandwidth
from deltaport.numerics import relative_error


def int8_rate(threads: int, size: int = 1024) -> Callable[[], float]:
    """Measures operations a second of a square product of bytes by onnxruntime."""
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    a = helper.make_tensor_value_info("a", TensorProto.UINT8, (size, size))
    b = helper.make_tensor("b", TensorProto.INT8, (size, size), bytes(size * size), raw=True)
    y = helper.make_tensor_value_info("y", TensorProto.INT32, (size, size))
    graph = helper.make_graph([node], "g", [a], [y], [b])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    run = session(model.SerializeToString(), threads)
    feeds = {"a": np.zeros((size, size), np.uint8)}
    return lambda: 2.0 * size**3 / turn(lambda: run.run(None, feeds))


def fastest(case: QuantizedCase, threads: int) -> tuple[str, BoundRun]:
    """The setting of the peer that runs best here."""
    runs = {
        name: BoundRun(session(model, threads), case.feeds, {})
        for name, model in case.peers.items()
    }
    times = {name: min(turn(run) for _ in range(3)) for name, run in runs.items()}
    best = min(times, key=lambda name: times[name])
    return best, runs[best]


def measure(case: QuantizedCase, threads: int, rounds: int, bandwidth: float) -> Row:
    """One row; prints the errors of both."""
    ours = BoundRun(session(case.ours, threads), case.feeds, {})
    setting, peer = fastest(case, threads)
    ours()
    peer()
    exact: Array = case.exact()
    errors = [relative_error(run.first_output(), exact) for run in (ours, peer)]
    rate = int8_rate(threads)
    times = [(turn(ours), turn(peer), rate()) for _ in range(rounds)]
    our_time, peer_time, products = (statistics.median(each) for each in zip(*times, strict=True))
    share = max(case.operations / products, case.bytes / bandwidth) / our_time
    ratio = statistics.median(theirs / own for own, theirs, _ in times)
    name = f"{case.name} threads={threads}"
    print(f"{name}: error {errors[0]:.2e}, peer ({setting}) {errors[1]:.2e}", flush=True)
    return Row(name, our_time * 1e6, peer_time * 1e6, ratio, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and 2")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    all_threads = arguments.threads or [1, 2]
    bandwidth = {threads: read_bandwidth(threads) for threads in all_threads}
    rows = [
        measure(case, threads, arguments.rounds, bandwidth[threads])
        for case in quantized_cases(arguments.case)
        for threads in all_threads
    ]
    if not rows:
        parser.error(f"--case {arguments.case}: no case has that in its name")
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    main()
