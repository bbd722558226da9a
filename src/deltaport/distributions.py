"""What logits say of the next token, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["kl_divergence", "log_softmax"]

Floats = NDArray[np.float64]


def log_softmax(logits: NDArray[Any]) -> Floats:
    """Log-probabilities [V], in nats, of logits [V]; not a number where a logit is none."""
    shifted = logits.astype(np.float64) - float(logits.max())
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def kl_divergence(log_p: Floats, log_q: Floats) -> float:
    """KL(p || q) in nats of two distributions given as finite log-probabilities [V].

    What it costs, on average over what p would say, to believe q instead.
    """
    # Rounding may take a sum of nothing just below 0, where no divergence is.
    return max(0.0, float((np.exp(log_p) * (log_p - log_q)).sum()))
