"""Building programs in C and C++ as their authors would, and running them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ROOT", "build", "run", "succeed"]

ROOT = Path(__file__).resolve().parents[2]


def succeed(*command: str | Path) -> str:
    """What the command prints; what it says where it fails is in the failure."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def build(source: Path, folder: Path, *options: str) -> Path:
    """Configure and build with cmake, into ``folder``."""
    succeed("cmake", "-S", source, "-B", folder, *options)
    succeed("cmake", "--build", folder, "--parallel", "2")
    return folder


def run(
    program: Path, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that may fail; ``environment`` is beside the one that is there."""
    return subprocess.run(
        [str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(environment or {})},
    )
