"""What is seen while an export runs: its stages, and a bar for the weights."""

from __future__ import annotations

from rich.progress import DownloadColumn

from deltaport.exporter.export import ExportEvents

from .stage_progress import StageProgress

__all__ = ["ExportProgress"]


class ExportProgress(StageProgress):
    """Progress of an export."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(DownloadColumn(), quiet=quiet)

    @property
    def events(self) -> ExportEvents:
        """The hooks to hand to the exporter."""
        return ExportEvents(stage=self.begin, weights=self.expect, wrote=self.advance)
