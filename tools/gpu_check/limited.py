"""Commands that may not take for ever."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["run_within"]


def run_within(
    minutes: float, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> int | None:
    """The exit status of a command that runs in ``folder``; None where it had to be stopped.

    With it end the programs that it started, as an export that a test waits for.
    """
    process = subprocess.Popen(command, cwd=folder, env=env, start_new_session=True)
    try:
        return process.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
