"""Times of kernels that TensorRT measured, kept in a file from one build to the next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deltaport.atomic_file import replacing
from deltaport.errors import EngineError, InputError, OutputError
from deltaport.exporter.tensorrt.tensorrt_library import TensorRt
from deltaport.package.bounded_file import read_bounded

__all__ = ["TimingCache"]

_LIMIT = 1 << 30
"""Bytes such a file may have: real ones have some megabytes."""
_CACHE = "timing cache"


class TimingCache:
    """The times in ``file``, where it is there; a build goes by them and adds its own."""

    def __init__(self, tensorrt: TensorRt, config: Any, logger: Any, file: str) -> None:
        """Have builds with ``config`` use it.

        Raises ``InputError`` where TensorRT measures nothing, or refuses what is in the file, and
        where the file could not be written later.
        """
        self._path = Path(os.path.realpath(file))  # so that a link stays one
        self._shown = file
        builder = f"{tensorrt.flavour} {tensorrt.version}"
        if tensorrt.builds_for_others:
            raise InputError(
                f"--timing-cache {file}: {builder} measures nothing when it builds, it compiles "
                "kernels on the machine that runs the plan; leave the option out"
            )
        data = self._read()
        problems, warnings = len(logger.problems), len(logger.warnings)
        self._cache = config.create_timing_cache(data)
        taken = self._cache is not None and config.set_timing_cache(
            self._cache, ignore_mismatch=False
        )
        said = logger.problems[problems:] + logger.warnings[warnings:]
        # What it cannot read it replaces by nothing, with a warning: the file would be lost.
        replaced = data and any(_CACHE in line.lower() for line in said)
        if replaced or not taken:
            raise InputError(
                f"--timing-cache {file}: {builder} refuses it "
                f"({said[0] if said else 'it does not say why'}): it must have been measured by "
                "this version on a GPU like this one; name another file"
            )

    def write(self) -> None:
        """Put all that is known by now into the file; raises ``OutputError`` where it does not."""
        try:
            with replacing(self._path) as file:
                file.write(self._cache.serialize())
        except OSError as error:
            raise OutputError(
                f"--timing-cache {self._shown}: cannot be written: {error.strerror}"
            ) from None

    def _read(self) -> bytes:
        folder = self._path.parent
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise InputError(
                f"--timing-cache {self._shown}: {folder} is no folder that can be written to"
            )
        try:
            remedy = "name another file"
            found = read_bounded(
                self._path, _LIMIT, too_large=", not a timing cache", remedy=remedy
            )
        except EngineError as error:
            raise InputError(f"--timing-cache {error}") from None
        return b"" if found is None else found
