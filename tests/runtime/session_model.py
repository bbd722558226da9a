"""What a row of a toy engine's session must be, computed in Python."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from deltaport.runtime import SamplingParams, Session
from deltaport.state_layout import CAPACITY
from tests.runtime.toy_engine import toy_logits

__all__ = ["FREE", "RowModel", "check_row", "leftover", "unchanged"]

PAGE = 4096
FREE = SamplingParams(max_new_tokens=6, ignore_eos=True)


@dataclass
class RowModel:
    """What a row must be."""

    tokens: list[int] = field(default_factory=list)
    seen: int = 0
    """Tokens that its state has seen."""
    bare: bool = False
    """Whether it has no logits: the step that was to give them failed."""

    def copy(self) -> RowModel:
        return replace(self, tokens=list(self.tokens))

    @property
    def has_logits(self) -> bool:
        return bool(self.tokens) and self.seen == len(self.tokens) and not self.bare

    def add(self, tokens: Sequence[int]) -> None:
        """All that it has is run."""
        self.tokens += tokens
        self.seen, self.bare = len(self.tokens), False


def check_row(session: Session, row: int, model: RowModel) -> None:
    """Tokens, logits, and every number of the state."""
    native = session.native
    assert native.tokens(row) == model.tokens
    assert native.length(row) == model.seen
    logits = native.logits(row)
    assert (logits is not None) == model.has_logits
    if logits is not None:
        np.testing.assert_array_equal(logits, toy_logits(model.tokens)[-1])
    seen = model.tokens[: model.seen]
    cache = native.pack(0, row, model.seen).view(np.float32)
    columns = np.repeat(np.array(seen, dtype=np.float32), len(cache) // max(len(seen), 1))
    assert np.array_equal(cache, columns)
    assert set(native.pack(1, row, model.seen).view(np.float32).tolist()) == {sum(seen)}


@contextmanager
def unchanged(session: Session, error: type[Exception], message: str) -> Iterator[None]:
    before = session.tokens, session.lengths
    with pytest.raises(error, match=message):
        yield
    assert (session.tokens, session.lengths) == before


def leftover(session: Session) -> int:
    """Bytes in pages that several rows share: they stay when one of them is closed."""
    found = 0
    for tensor in session.engine.manifest.state:
        sizes = [session.native.capacity if dim == CAPACITY else dim for dim in tensor.shape[1:]]
        row = 4 * math.prod(map(int, sizes))
        buffers = 1 if tensor.update == "in_place" else 2
        found += buffers * (2 * session.sequences * row + PAGE) if row % PAGE else 0
    return found
