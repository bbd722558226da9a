"""What is seen while an export runs: finished stages, a spinner, a bar for the weights."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from deltaport.exporter.export import ExportEvents

from .console import console
from .formatting import format_seconds

__all__ = ["ExportProgress"]


class ExportProgress:
    """Progress on stderr: live on a terminal, one line a stage elsewhere, nothing if ``quiet``."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = console(sys.stderr)
        self._quiet = quiet
        self._stage: str | None = None
        self._started = 0.0
        self._task: TaskID | None = None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )

    @property
    def events(self) -> ExportEvents:
        """The hooks to hand to the exporter."""
        return ExportEvents(stage=self._begin, weights=self._expect, wrote=self._advance)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._end()
        self._progress.stop()

    def _begin(self, stage: str) -> None:
        self._end()
        self._stage, self._started = stage, time.monotonic()
        self._task = self._progress.add_task(stage, total=None)

    def _end(self) -> None:
        """Leave a line behind for the stage that is done."""
        if self._stage is None or self._quiet:
            return
        seconds = format_seconds(time.monotonic() - self._started)
        line = Text.assemble((f"{self._stage} ", ""), (f"({seconds})", "dim"))
        self._console.print(line, soft_wrap=True)
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._stage = self._task = None

    def _expect(self, size: int) -> None:
        """From here on the length of the stage is known: show how far it is."""
        self._progress.columns = (
            *self._progress.columns[:2],
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
        )
        if self._task is not None:
            self._progress.update(self._task, total=size, refresh=True)

    def _advance(self, size: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, size)
