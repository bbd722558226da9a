"""Plans of the demo checkpoint on this machine's GPU, by ``deltaport bench``: tokens a second.

Ours are with our plugins, the peer's of TensorRT's own layers alone.

    python -m benchmarks.gpu_plans --json figures.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import Row, print_table, write_json
from deltaport.runtime.tensorrt_library import PLUGINS_VARIABLE
from tests.tensorrt.cuda_library import plugin_library
from tools.gpu_kernels.find_gpu import NoGpuError, find_gpu

CHECKPOINT = Path("examples/demo_checkpoint")
NO_GPU = 2
SEQUENCES = (1, 8)
PHASES = ("prefill", "decode")


def deltaport(*arguments: str | Path, environment: Mapping[str, str]) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "deltaport", *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout


def rates(target: str, folder: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Tokens a second of the target's plan, by case."""
    engine = folder / target
    options = ("--target", target, "--slots", str(max(SEQUENCES)), "--quiet")
    deltaport("export", CHECKPOINT, "-o", engine, *options, environment=environment)
    found = {}
    for sequences in SEQUENCES:
        load = ("--sequences", str(sequences), "--quiet", "--json")
        result = json.loads(deltaport("bench", engine, *load, environment=environment))
        for phase in PHASES:
            name = f"demo checkpoint, {phase}, sequences={sequences}"
            found[name] = result[f"{phase}_tokens_per_second"]["median"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    try:
        gpu = find_gpu()
    except NoGpuError as error:
        print(error, file=sys.stderr)
        return NO_GPU
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = plugin_library(folder / "library", gpu.architecture.removeprefix("sm_"))
        environment = {PLUGINS_VARIABLE: str(library)}
        ours, plain = (rates(each, folder, environment) for each in ("tensorrt", "tensorrt-plain"))
    rows = [Row(case, ours[case], rate, ours[case] / rate) for case, rate in plain.items()]
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
