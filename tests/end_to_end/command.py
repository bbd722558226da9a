"""Running ``deltaport`` as a user does: in a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from deltaport.cli import main

__all__ = ["COMMAND", "deltaport", "error_line", "in_process", "listing", "on_terminal"]

COMMAND = (sys.executable, "-m", "deltaport")


def deltaport(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, with pipes for stdout and stderr."""
    defaults: dict[str, Any] = {"timeout": 300, "text": True, "encoding": "utf-8"}
    if "input" not in options:
        defaults["stdin"] = subprocess.DEVNULL
    command = [*options.pop("command", COMMAND), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **defaults | options)


def in_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As :func:`deltaport`, in this process: quicker, and open to monkeypatching."""
    given = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(given)
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(given, ended.value.code, out.getvalue(), err.getvalue())


def error_line(result: subprocess.CompletedProcess[str], *, status: int = 2) -> str:
    """The one line of a failed run's stderr, having checked that there is nothing else."""
    assert result.returncode == status, result
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    return line


def on_terminal(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """What a terminal receives from a run that must succeed, stdout and stderr together."""
    reader, writer = os.openpty()
    variables = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | dict(environment or {})
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        env=variables,
    ) as process:
        os.close(writer)
        received = b""
        while True:
            try:
                piece = os.read(reader, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                break
            if not piece:
                break
            received += piece
    os.close(reader)
    assert process.returncode == 0, received
    return received.decode()


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its contents."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
