"""How much memory this process has, and has had at most."""

from __future__ import annotations

import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessMemory", "process_memory"]

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes of physical memory: ``resident`` now, None where nobody tells, and ``peak``."""

    resident: int | None
    peak: int


def process_memory() -> ProcessMemory:
    """Ask the kernel: ``VmRSS`` and ``VmHWM`` on Linux, elsewhere the peak of ``getrusage``.

    Pages of files that are mapped, such as an engine's weights, count once they were touched.
    """
    try:
        text = _STATUS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = {name: int(kib) * 1024 for name, kib in re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", text)}
    if found.keys() >= {"VmRSS", "VmHWM"}:
        return ProcessMemory(found["VmRSS"], found["VmHWM"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return ProcessMemory(None, peak if sys.platform == "darwin" else peak * 1024)
