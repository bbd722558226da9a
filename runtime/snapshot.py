"""A sequence set aside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deltaport.package import Manifest

if TYPE_CHECKING:
    from deltaport.runtime.engine import Engine

__all__ = ["Snapshot"]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a row of a session was. Restoring it, there or elsewhere, is exact.

    Its size is that of the tokens it holds, however large the session's caches are.
    """

    manifest: Manifest
    """Of the engine it belongs to."""
    tokens: tuple[int, ...]
    length: int
    """How many of the tokens the state has seen."""
    logits: NDArray[np.float32] | None
    """[V], after the last token, if the state has seen that."""
    state: Mapping[str, NDArray[Any]]
    """Per input of the graph its part, without the slot dimension; caches end at ``length``."""

    @property
    def nbytes(self) -> int:
        """Bytes of state and logits."""
        logits = 0 if self.logits is None else self.logits.nbytes
        return logits + sum(array.nbytes for array in self.state.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, in place of what is there; ``OutputError`` where that fails."""
        from deltaport.runtime.snapshot_file import save_snapshot

        save_snapshot(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], engine: Engine) -> Snapshot:
        """Read what :meth:`save` wrote of a session of ``engine``.

        Raises ``InputError`` for a file that is damaged or belongs to another engine.
        """
        from deltaport.runtime.snapshot_file import load_snapshot

        return load_snapshot(path, engine.manifest)
