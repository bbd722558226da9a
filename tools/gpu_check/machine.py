"""What a run was made on, and of what."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.gpu_check import needs
from tools.gpu_kernels.find_gpu import Gpu

__all__ = ["commit", "describe"]

ROOT = Path(__file__).resolve().parents[2]
_NONE = "not installed"

Say = Callable[[Sequence[str]], str | None]


def describe(gpu: Gpu) -> dict[str, str]:
    """The rows that a card's section begins with."""
    return {
        "card": f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB",
        "compute capability": "{}.{}".format(*gpu.capability),
        "driver": f"{driver_version() or 'unknown'}, for CUDA up to {gpu.cuda}",
        "nvcc": nvcc_version() or _NONE,
        "TensorRT": _installed(*needs.TENSORRT),
        "onnxruntime": _installed("onnxruntime"),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _installed(*modules: str) -> str:
    found = needs.version_of(*modules)
    return _NONE if found is None else " ".join(found)


def said(command: Sequence[str]) -> str | None:
    """What a program prints; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else None


def driver_version(say: Say = said) -> str | None:
    """That of NVIDIA's driver, as in 580.65.06."""
    found = say(("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"))
    return found.splitlines()[0] if found else None


def nvcc_version(say: Say = said) -> str | None:
    """As in 13.0.88."""
    found = re.search(r"\bV(\d+\.\d+\.\d+)", say(("nvcc", "--version")) or "")
    return found[1] if found else None


def commit(say: Say = said) -> str:
    """The commit that was tried, and whether files were other than in it.

    But for the page, which a run before this one may have written.
    """
    name = say(("git", "describe", "--always", "--tags"))
    if name is None:
        return "unknown"
    changed = say(("git", "status", "--porcelain", "--", ".", ":!docs/gpu-results.md"))
    return f"{name}, with uncommitted changes" if changed else name
