"""How far two computations of the same thing may differ: one policy, scaled by storage dtype.

Every comparison in deltaport uses :func:`relative_error` and a bound from :func:`tolerance`; no
test or command invents its own. An error is measured against the *largest* magnitude of the
expected tensor, because rounding in a sum is proportional to its largest terms: an element that
cancels to almost nothing has no relative accuracy of its own to keep.

A bound is a number of unit roundoffs ``u`` of the dtype that values are stored in (``u`` is half
the gap above 1.0). Where the figures come from:

* ``OUTPUT``, 320 u: what one op returns. A sum of n terms in any order drifts by about sqrt(n) u.
  An op chains about five sums, none longer than 4,096 terms: 5 * 64 u. In float32: 1.9e-5.
* ``STATE``, 64 u: what an op carries to its next call. A call folds its tokens into the state in
  chunks of 64, so 4,096 tokens round each element 64 times: a walk of 8 u, and the worst element
  of thousands is four deviations out, 32 u. Old errors never grow, as every update contracts.
  The sums inside a chunk are shorter than 256 terms and add no more than that again. In float32:
  3.8e-6. (Folding token by token in float32 may drift ten times as far where nothing decays.)
* ``MODEL_STATE``: what the whole model carries, layer by layer. Each layer's state is made from a
  residual stream that is itself an OUTPUT, so it is bounded like one.
* ``LOGITS``: what the whole model returns. In float32 it is 1e-4 (1,678 u), the promise made to
  users: five OUTPUT bounds, as the residual stream averages the errors of its layers. In the
  half types storage rounds each layer's few tensors independently, a random walk of about 256
  roundings that ends near sqrt(256) u; sums run in float32 and add nothing visible. Hence 16 u.

A half type's ``OUTPUT`` and ``STATE`` are likewise 4 u: a few roundings on the way in and one on
the way out. They apply where *activations* are stored in it. Half weights fed to float32
arithmetic are compared with a reference that uses the same rounded weights, at float32's bounds.

Quantized weights are multiplied with activations that are rounded to codes of 8 bits, 32 at a time:
by at most half a step, which is 1/254 of the largest of them, as coarse as bfloat16 is just above a
power of two. A reference that rounds likewise is as near as float32 is, until an activation lies
between two codes and the two choose another one each; then they are as far apart as roundings are.
Hence ``int8``'s bounds, which count roundings like those of the half types.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNIT_ROUNDOFF", "Quantity", "relative_error", "tolerance"]

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8, "int8": 1 / 254}


class Quantity(StrEnum):
    """What is being compared."""

    OUTPUT = "output"
    STATE = "state"
    MODEL_STATE = "model_state"
    LOGITS = "logits"


_HALF_UNITS = {
    Quantity.OUTPUT: 4,
    Quantity.STATE: 4,
    Quantity.MODEL_STATE: 4,
    Quantity.LOGITS: 16,
}
_POLICY = {
    ("float32", Quantity.OUTPUT): 320 * UNIT_ROUNDOFF["float32"],
    ("float32", Quantity.STATE): 64 * UNIT_ROUNDOFF["float32"],
    ("float32", Quantity.MODEL_STATE): 320 * UNIT_ROUNDOFF["float32"],
    ("float32", Quantity.LOGITS): 1e-4,
} | {
    (dtype, quantity): units * UNIT_ROUNDOFF[dtype]
    for dtype in ("float16", "bfloat16", "int8")
    for quantity, units in _HALF_UNITS.items()
}


def tolerance(quantity: Quantity, storage: str = "float32") -> float:
    """The largest :func:`relative_error` of ``quantity`` that passes, stored as ``storage``."""
    return _POLICY[storage, quantity]


def relative_error(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """max|actual - expected| / max|expected|; infinite where either holds a NaN or infinity.

    Nothing is broadcast: shapes that differ are an error of the caller. An expected tensor of
    zeros must be met with zeros.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"cannot compare shape {actual.shape} with {expected.shape}")
    if actual.size == 0:
        return 0.0
    found, wanted = (np.asarray(array, dtype=np.float64) for array in (actual, expected))
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return float("inf")
    largest = max(float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(found - wanted).max()) / largest
