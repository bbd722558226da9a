"""What is seen while an export runs: its stages, and a bar for the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import DownloadColumn, MofNCompleteColumn

from deltaport.evaluate import EvaluateEvents
from deltaport.exporter.export import ExportEvents

from .stage_progress import StageProgress

if TYPE_CHECKING:
    from deltaport.exporter.compile_graph import Compilation

__all__ = ["ExportProgress"]


class ExportProgress(StageProgress):
    """Progress of an export; ``compilation`` is what its passes did, once they are done."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(DownloadColumn(), quiet=quiet)
        self.compilation: Compilation | None = None

    @property
    def events(self) -> ExportEvents:
        """The hooks to hand to the exporter."""
        return ExportEvents(
            stage=self.begin, compiled=self._keep, weights=self.expect, wrote=self.advance
        )

    @property
    def read(self) -> EvaluateEvents:
        """The hooks to hand to an evaluation."""
        return EvaluateEvents(
            tokens=lambda total: self.expect(total, MofNCompleteColumn()), done=self.advance
        )

    def _keep(self, compilation: Compilation) -> None:
        self.compilation = compilation
