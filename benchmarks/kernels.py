"""Our CPU kernels against the ops onnxruntime brings along, on the same inputs.

The peer is the graph that ``lower-to-contrib`` makes of our op, norms and gates included. Both run
in this process, taking turns; state is bound in place for both. Times are microseconds, medians of
the rounds. ``limit_share`` is what the bandwidth and the rate of fp32 products, both measured here,
would allow at most: the larger of the two shares.

    python -m benchmarks.kernels --case delta-rule --threads 1 --json figures.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from benchmarks.kernel_cases import KernelCase, kernel_cases
from benchmarks.one_op import bound_run, our_model, peer_model
from benchmarks.report import Row, print_table, write_json
from deltaport.bench.memory_bandwidth import read_bandwidth
from deltaport.errors import InputError

TURN_SECONDS = 0.03
PAUSE_SECONDS = 0.05  # onnxruntime's threads keep a core busy for some time after their last work
TOLERANCE = 1e-4


def turn(run: Callable[[], None]) -> float:
    """Seconds of one run: the mean over a turn, after the other's threads have gone to sleep."""
    time.sleep(PAUSE_SECONDS)
    for _ in range(2):  # wakes our threads
        start = time.perf_counter()
        run()
        once = time.perf_counter() - start
    runs = max(1, int(TURN_SECONDS / once))
    start = time.perf_counter()
    for _ in range(runs):
        run()
    return (time.perf_counter() - start) / runs


def product_rate(threads: int, size: int = 1024) -> Callable[[], float]:
    """Measures operations a second of a square fp32 product by onnxruntime."""
    square = helper.make_tensor_value_info("x", TensorProto.FLOAT, (size, size))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, (size, size))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "g", [square], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options)
    x = np.random.default_rng(0).standard_normal((size, size), np.float32)
    return lambda: 2.0 * size**3 / turn(lambda: session.run(None, {"x": x}))


def measure(case: KernelCase, threads: int, rounds: int, bandwidth: float) -> Row:
    """One row; raises ``InputError`` if the two do not agree."""
    feeds = case.make(np.random.default_rng(0))
    weights = set(case.weights)
    ours, peer = (
        bound_run(make(case.op, feeds, case.attributes, weights), feeds, case.states, threads)
        for make in (our_model, peer_model)
    )
    ours()
    peer()
    expected = peer.first_output()
    error = np.abs(ours.first_output() - expected).max() / np.abs(expected).max()
    if not error <= TOLERANCE:
        raise InputError(f"{case.name}: ours and the peer's differ by {error:.1e}")
    rate = product_rate(threads)
    times = [(turn(ours), turn(peer), rate()) for _ in range(rounds)]
    our_time, peer_time, flops = (statistics.median(each) for each in zip(*times, strict=True))
    share = max(case.flops / flops, case.bytes / bandwidth) / our_time
    name = f"{case.name} threads={threads}"
    ratio = statistics.median(theirs / own for own, theirs, _ in times)
    return Row(name, our_time * 1e6, peer_time * 1e6, ratio, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and 2")
    parser.add_argument("--rounds", type=int, default=11, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads or (1, 2):
        bandwidth = read_bandwidth(threads)
        for case in kernel_cases():
            if arguments.case in case.name:
                rows.append(measure(case, threads, arguments.rounds, bandwidth))
                print(rows[-1].case, "done", flush=True)
    if not rows:
        parser.error(f"--case {arguments.case}: no case has that in its name")
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    main()
