"""What is seen while something runs for long: finished stages, a spinner, a bar where it can be."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from .console import console
from .formatting import format_seconds

__all__ = ["StageProgress"]


class StageProgress:
    """Progress on stderr: live on a terminal, one line a stage elsewhere, nothing if ``quiet``.

    ``counter`` is the column that shows how far a stage is whose length is known.
    """

    def __init__(self, counter: ProgressColumn, *, quiet: bool) -> None:
        self._console = console(sys.stderr)
        self._quiet = quiet
        self._counter = counter
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

    def begin(self, stage: str) -> None:
        """The stage before is done, if there was one, and this one begins."""
        self._end()
        self._stage, self._started = stage, time.monotonic()
        self._task = self._progress.add_task(stage, total=None)

    def expect(self, total: int, counter: ProgressColumn | None = None) -> None:
        """From here on the length of the stage is known: show how far it is, perhaps otherwise."""
        self._progress.columns = (
            *self._progress.columns[:2],
            BarColumn(),
            counter or self._counter,
            TimeRemainingColumn(),
        )
        if self._task is not None:
            self._progress.update(self._task, total=total, refresh=True)

    def advance(self, by: int) -> None:
        """So much more of the stage is done."""
        if self._task is not None:
            self._progress.advance(self._task, by)

    def _end(self) -> None:
        """Leave a line behind for the stage that is done."""
        if self._stage is None or self._quiet:
            return
        seconds = format_seconds(time.monotonic() - self._started)
        line = Text.assemble((f"{self._stage} ", ""), (f"({seconds})", "dim"))
        self._console.print(line, soft_wrap=True)
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._progress.columns = self._progress.columns[:2]
        self._stage = self._task = None
