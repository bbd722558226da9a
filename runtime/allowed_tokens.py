"""Which tokens a grammar lets come next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime.arguments import token_ids
from deltaport.runtime.sampling_params import AllowedTokens

__all__ = ["allowed_mask"]


def allowed_mask(
    callback: AllowedTokens | None, new_tokens: Sequence[int], vocab_size: int
) -> NDArray[np.bool_] | None:
    """What ``callback`` allows after ``new_tokens``, a mask [V]; None for everything.

    Raises ``InputError`` for an answer that is none, and whatever the callback raises.
    """
    answer = None if callback is None else callback(tuple(new_tokens))
    if answer is None:
        return None
    if isinstance(answer, np.ndarray) and answer.dtype == np.bool_:
        if answer.shape != (vocab_size,):
            raise InputError(
                f"allowed_tokens gave a mask of shape {list(answer.shape)}, expected "
                f"[{vocab_size}], the vocabulary"
            )
        return np.ascontiguousarray(answer)
    mask = np.zeros(vocab_size, dtype=np.bool_)
    mask[token_ids("what allowed_tokens gave", answer, vocab_size)] = True
    return mask
