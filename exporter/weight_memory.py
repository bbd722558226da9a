"""What weights cost an engine: bytes of memory, and bytes read for every step.

Our kernels and GPUs read weights as they are stored. In a portable engine projections are widened
to float32 when it is loaded, whatever they are stored as; embedding table and experts stay as they
are stored, mapped from the file: a token copies one row of the table, and an expert is widened when
a step has chosen it.

Parameters are stored as a dtype (``bfloat16``) or in a format of few bits (``int4 block=32``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec, SparseMoeSpec
from deltaport.weight_format import parse_format
from deltaport.weight_roles import role_of

__all__ = ["ITEM_BYTES", "resident_weight_bytes", "stored_bytes", "weight_bytes_per_step"]

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes an element has, of the dtypes weights are stored in."""

_FLOAT32_BYTES = ITEM_BYTES["float32"]
_AS_STORED = ("embedding", "experts")


def stored_bytes(stored_as: str, shape: tuple[int, ...]) -> int:
    """Bytes of a parameter of this shape."""
    if stored_as in ITEM_BYTES:
        return ITEM_BYTES[stored_as] * math.prod(shape)
    return parse_format(stored_as).stored_bytes(shape)


def resident_weight_bytes(
    spec: ModelSpec, dtypes: Mapping[str, str], *, as_stored: bool = False
) -> int:
    """Bytes of memory the weights take once all of them have been used.

    ``dtypes`` says how every parameter is stored; ``as_stored``, that they are read like that. In
    other engines a tied table is there once if stored in float32, and otherwise twice: as it is
    stored, and widened for the output head.
    """
    total = 0
    for name, shape in parameter_shapes(spec).items():
        stored, role = stored_bytes(dtypes[name], shape), role_of(name)
        wide = _FLOAT32_BYTES * math.prod(shape)
        total += stored if as_stored or role in _AS_STORED else wide
        tied = role == "embedding" and spec.tie_word_embeddings
        if tied and not as_stored and dtypes[name] != "float32":
            total += wide
    return total


def weight_bytes_per_step(
    spec: ModelSpec, dtypes: Mapping[str, str], sequences: int, *, as_stored: bool = False
) -> int:
    """Bytes of weights one decode step of ``sequences`` tokens has to read.

    Everything but the experts is read once, for all sequences together; of the embedding table,
    which counts only where it is the output head too, a few rows are neglected. Of E experts,
    tokens that choose k each, independently and evenly, touch E (1 - (1 - k/E)^sequences): for one
    sequence exactly k.
    """
    total = 0.0
    for name, shape in parameter_shapes(spec).items():
        role = role_of(name)
        if role == "embedding" and not spec.tie_word_embeddings:
            continue
        dtype = dtypes[name] if as_stored or role == "experts" else "float32"
        size: float = stored_bytes(dtype, shape)
        if role == "experts" and isinstance(spec.mlp, SparseMoeSpec):
            size *= 1 - (1 - spec.mlp.top_k / spec.mlp.num_experts) ** sequences
        total += size
    return round(total)
