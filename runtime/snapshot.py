"""A sequence set aside."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deltaport.package import Manifest
from deltaport.runtime import _native
from deltaport.runtime.session_state import as_tensor

if TYPE_CHECKING:
    from deltaport.runtime.engine import Engine

__all__ = ["Snapshot"]


class Snapshot:
    """What a row of a session was. Restoring it, there or elsewhere, is exact.

    Its size is that of the tokens it holds, however large the session's caches are. It never
    changes. ``Session.snapshot`` and :meth:`load` make one.
    """

    def __init__(self, manifest: Manifest, native: _native.Snapshot) -> None:
        self.manifest = manifest
        """Of the engine it belongs to."""
        self.native = native

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """All tokens of the row, prompts and generated."""
        return tuple(self.native.tokens)

    @property
    def length(self) -> int:
        """How many of the tokens the state has seen."""
        return self.native.length

    @property
    def logits(self) -> NDArray[np.float32] | None:
        """[V], after the last token, if the state has seen that; read-only."""
        return self.native.logits

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Per input of the graph its part, without the slot dimension; caches end at ``length``.

        Read-only; bfloat16, which numpy has not, as its bits in uint16.
        """
        return {
            tensor.input: as_tensor(self.native.part(at), tensor, self.length)
            for at, tensor in enumerate(self.manifest.state)
        }

    @property
    def nbytes(self) -> int:
        """Bytes of tokens, state and logits."""
        return self.native.nbytes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, in place of what is there; ``OutputError`` where that fails.

        The file is a safetensors file: ``tokens`` (int64 [n]), ``logits`` (float32 [V]) where there
        are any, and a tensor ``state.NAME`` for every input NAME of the graph that is state. Its
        owner alone may read it.
        """
        self.native.save(os.fsencode(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], engine: Engine) -> Snapshot:
        """Read what :meth:`save` wrote of a session of ``engine``.

        Raises ``InputError`` for a file that is damaged or belongs to another engine.
        """
        return cls(engine.manifest, _native.Snapshot.load(os.fsencode(path), engine.native))
