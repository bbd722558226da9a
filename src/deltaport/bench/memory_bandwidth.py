"""How fast this machine reads memory: what a decode step, which reads all weights, cannot beat.

Run as a module, so in a process of its own, whose buffers do not show in the memory of the
engine's: ``python -m deltaport.bench.memory_bandwidth THREADS`` prints bytes per second.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

__all__ = ["bandwidth_in_new_process", "read_bandwidth"]

_CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
_LEAST_BYTES = 512 << 20
_LARGER_THAN_CACHE = 8
_ROUNDS = 5
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def read_bandwidth(threads: int) -> float:
    """Bytes per second that ``threads`` threads read together, the best of a few rounds.

    Each thread folds a buffer of its own with a bitwise "or", for which NumPy lets go of the
    interpreter's lock, and which takes less time than the reading. Together the buffers are far
    larger than the processor's last cache.
    """
    size = max(_LEAST_BYTES, _LARGER_THAN_CACHE * _last_cache_bytes()) // threads
    buffers = [np.ones(size // 8, dtype=np.int64) for _ in range(threads)]
    total = sum(buffer.nbytes for buffer in buffers)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            list(pool.map(np.bitwise_or.reduce, buffers))
            best = min(best, time.perf_counter() - start)
    return total / best


def bandwidth_in_new_process(threads: int) -> float | None:
    """:func:`read_bandwidth` of a fresh process; None if that fails, for lack of memory say."""
    command = [sys.executable, "-P", "-m", __name__, str(threads)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return float(done.stdout) if done.returncode == 0 else None


def _last_cache_bytes() -> int:
    """Size of the largest cache the kernel tells of, 0 if it tells of none."""
    sizes = [0]
    with suppress(OSError):
        for path in _CACHE.glob("index*/size"):
            if found := re.fullmatch(r"(\d+)([KMG])", path.read_text(encoding="ascii").strip()):
                sizes.append(int(found[1]) * _UNITS[found[2]])
    return max(sizes)


if __name__ == "__main__":
    print(read_bandwidth(int(sys.argv[1])))
