"""A folder of graphs as text: the traced one, and what every pass made of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deltaport.errors import OutputError

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["DumpFolder"]

TRACED = "traced"


class DumpFolder:
    """Numbered files, ``00-traced.onnxtxt`` first. What is written stays, whatever comes after."""

    def __init__(self, path: Path) -> None:
        """Raise ``OutputError`` unless ``path`` is an empty folder or free; writes nothing."""
        self._path = path
        self._written = 0
        try:
            if os.path.lexists(path) and not path.is_dir():
                raise OutputError(f"{path}: exists and is not a folder; choose another --dump-dir")
            if path.is_dir() and any(path.iterdir()):
                raise OutputError(
                    f"{path}: is not empty; choose a new or empty folder as --dump-dir"
                )
        except OSError as error:
            raise self._failure(error) from None

    def write(self, model: ir.Model, pass_name: str = TRACED) -> None:
        """Add ``model`` as ``pass_name`` left it."""
        from deltaport.graph_passes.dump import dump_file_name, to_text

        file = self._path / dump_file_name(self._written, pass_name)
        text = to_text(model)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise self._failure(error) from None
        self._written += 1

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot hold dumps: {error.strerror}")
