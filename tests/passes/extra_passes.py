"""A pass added in a test as anyone adds one: by a file in a folder of passes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deltaport import graph_passes
from deltaport.graph_passes.registry import registered_passes

__all__ = ["passes_in"]


@contextmanager
def passes_in(files: Path, folder: str = "clean") -> Iterator[None]:
    """Let the files of a folder of the test's be in a folder of ``graph_passes`` for the block."""
    package = importlib.import_module(f"{graph_passes.__name__}.{folder}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "__path__", [*package.__path__, str(files)])
        registered_passes.cache_clear()
        try:
            yield
        finally:
            registered_passes.cache_clear()
            for file in files.glob("*.py"):
                sys.modules.pop(f"{package.__name__}.{file.stem}", None)
                vars(package).pop(file.stem, None)
