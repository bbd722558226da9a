"""The CUDA kernels at the shapes of a 35B-A3B, against the bandwidth of this GPU's memory.

Times are microseconds, medians of the rounds, by CUDA's events; every round copies a large buffer,
too, which is the bandwidth. ``limit_share`` is the share of it a kernel reaches with the bytes it
cannot do without. Calls with inputs of their own take turns, so that nothing is in the cache from
the call before, and all are in one CUDA graph, so that the time is the GPU's. The rule in chunks
has the rule in steps as its peer; from how many tokens on it is the faster one is told at the end.

    python -m benchmarks.gpu_kernels --case mixture --json figures.json
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gpu_kernel_cases import Call, GpuCase, LayerShape, gpu_cases
from benchmarks.gpu_memory import GpuMemory, gpu_memory
from benchmarks.report import Row, print_table, write_json
from tools.gpu_kernels.arguments import Mixture
from tools.gpu_kernels.driver import Device, Driver, Event, Graph
from tools.gpu_kernels.find_gpu import NoGpuError, find_gpu
from tools.gpu_kernels.kernel_library import KernelLibrary, build_for_gpu

__all__ = ["crossing", "measure"]

NO_GPU = 2
TURN_SECONDS = 0.01
COPIED_BYTES = 1 << 29
MOST_CALLS = 64
LEAST_LAUNCHES = 32  # of a graph, whose own launch then does not count
CROSSING = "delta rule: chunks are faster from this many tokens on"


def seconds_of(device: Device, run: Callable[[], None], times: int) -> float:
    """Seconds of one of so many runs in a row."""
    begin, end = Event(device), Event(device)
    begin.record()
    for _ in range(times):
        run()
    end.record()
    return end.seconds_since(begin) / times


def measure(
    kernels: KernelLibrary,
    case: GpuCase,
    rounds: int,
    *,
    copied_bytes: int = COPIED_BYTES,
    turn_seconds: float = TURN_SECONDS,
) -> Row:
    """One row. ``copied_bytes`` are copied in each round, and a turn takes about so long."""
    device = kernels.device
    with gpu_memory(device) as memory:
        (one,) = case.calls(memory, 1)
    count = min(MOST_CALLS, math.ceil(4 * device.l2_bytes / one.bytes) + 1)
    with gpu_memory(device) as memory:
        to, source = memory.empty(copied_bytes), memory.empty(copied_bytes)
        calls = case.calls(memory, count)
        names = [case.kernel] if case.peer is None else [case.kernel, case.peer]
        timed = [_Timed(kernels, name, calls, memory, turn_seconds) for name in names]
        times: list[list[float]] = []
        for _ in range(rounds):
            copied = seconds_of(device, lambda: device.copy(to, source, copied_bytes), 4)
            times.append([2 * copied_bytes / copied, *(each.seconds() for each in timed)])
        device.wait()
    bandwidth, ours, *peer = map(statistics.median, zip(*times, strict=True))
    share = statistics.mean(call.bytes for call in calls) / bandwidth / ours
    if not peer:
        return Row(case.name, ours * 1e6, limit_share=share)
    ratio = statistics.median(theirs / own for _, own, theirs in times)
    return Row(case.name, ours * 1e6, peer[0] * 1e6, ratio, share)


class _Timed:
    """Calls of a kernel that take turns, in one graph."""

    def __init__(
        self,
        kernels: KernelLibrary,
        name: str,
        calls: Sequence[Call],
        memory: GpuMemory,
        turn_seconds: float,
    ) -> None:
        rounds = math.ceil(LEAST_LAUNCHES / len(calls))
        mixtures = [each.arguments for each in calls if isinstance(each.arguments, Mixture)]
        sizes = [kernels.workspace(mixture) for mixture in mixtures]
        workspace = (memory.empty(max(sizes)),) if sizes else ()

        def launch() -> None:
            for call in (*calls,) * rounds:
                kernels.launch(name, call.arguments, *workspace)

        self._device = kernels.device
        self._graph = Graph(kernels.device, launch)
        self._launches = rounds * len(calls)
        seconds_of(self._device, self._graph.launch, 1)  # warms up
        once = seconds_of(self._device, self._graph.launch, 1)
        self._times = max(1, math.ceil(turn_seconds / once))

    def seconds(self) -> float:
        """Of one call: the mean over a turn."""
        return seconds_of(self._device, self._graph.launch, self._times) / self._launches


def crossing(rows: Sequence[Row]) -> Row | None:
    """From which number of tokens on the chunks are faster in every case that was measured."""
    found = {
        int(tokens[1]): row.ratio
        for row in rows
        if row.ratio is not None and (tokens := re.search(r"(\d+) tokens: chunks", row.case))
    }
    slower = [tokens for tokens, ratio in found.items() if ratio <= 1]
    faster = [tokens for tokens in found if tokens > max(slower, default=0)]
    return Row(CROSSING, min(faster)) if faster else None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=11, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    cases = [case for case in gpu_cases(LayerShape()) if arguments.case in case.name]
    if not cases:
        parser.error(f"--case {arguments.case}: no case has that in its name")
    try:
        gpu = find_gpu()
    except NoGpuError as error:
        print(error, file=sys.stderr)
        return NO_GPU
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        library = build_for_gpu(Path(folder) / "kernels.so", gpu.capability)
        kernels = KernelLibrary(library, Device(Driver()))
        for case in cases:
            rows.append(measure(kernels, case, arguments.rounds))
            print(rows[-1].case, "done", flush=True)
    from_tokens = crossing(rows)
    rows += [] if from_tokens is None else [from_tokens]
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
