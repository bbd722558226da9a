"""Tries damaged files one after another, in a process that may not grow without bound.

    python -m tests.fuzz.worker SUBJECT ORIGINALS SCRATCH FIRST LAST

One line of JSON per attempt goes to stdout. An attempt that takes too long ends the process with
SIGALRM, whatever code is running.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deltaport.errors import DeltaportError
from tests.fuzz.subjects import SUBJECTS, mutated

__all__ = ["ADDRESS_SPACE", "SECONDS"]

ADDRESS_SPACE = 512 << 20
"""Bytes the process may add to its address space, after one attempt with the file undamaged."""
SECONDS = 10
"""Time an attempt may take."""


def attempt(use: Callable[[Path], None], folder: Path) -> str | None:
    """None if the folder could be used; else what was said about it, or what escaped."""
    try:
        use(folder)
    except DeltaportError as error:
        return f"refused: {error}"
    except BaseException as error:  # a panic in the tokenizer's Rust code is one
        return f"escaped: {type(error).__name__}: {error}"
    return None


def limit_address_space() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(name: str, originals: Path, scratch: Path, first: int, last: int) -> None:
    """Try the damaged files from ``first`` up to but not including ``last``."""
    subject = SUBJECTS[name]
    folder = scratch / subject.folder
    shutil.copytree(originals / subject.folder, folder)
    file = folder / subject.file
    original = file.read_bytes()
    for use in subject.uses:
        use(folder)
    limit_address_space()
    for seed in range(first, last):
        file.write_bytes(mutated(subject, original, seed))
        for use in subject.uses:
            started = time.monotonic()
            signal.alarm(SECONDS)
            said = attempt(use, folder)
            signal.alarm(0)
            row = {
                "seed": seed,
                "use": use.__name__,
                "said": said,
                "seconds": time.monotonic() - started,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
            }
            os.write(1, json.dumps(row).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
