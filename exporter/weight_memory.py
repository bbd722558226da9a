"""What weights cost a portable engine: bytes of memory, and bytes read for every step.

Projections are widened to float32 when an engine is loaded, whatever they are stored as: CPUs
multiply in float32. Embedding table and experts stay as they are stored, mapped from the file: a
token copies one row of the table, and an expert is widened when a step has chosen it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec, SparseMoeSpec
from deltaport.weight_roles import role_of

__all__ = ["ITEM_BYTES", "resident_weight_bytes", "weight_bytes_per_step"]

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes an element has, of the dtypes weights are stored in."""

_FLOAT32_BYTES = ITEM_BYTES["float32"]
_AS_STORED = ("embedding", "experts")


def resident_weight_bytes(spec: ModelSpec, dtypes: Mapping[str, str]) -> int:
    """Bytes of memory the weights take once all of them have been used.

    ``dtypes`` says how every parameter is stored. A tied table is there once if stored in float32,
    and otherwise twice: as it is stored, and widened for the output head.
    """
    total = 0
    for name, shape in parameter_shapes(spec).items():
        stored, role = ITEM_BYTES[dtypes[name]], role_of(name)
        item = stored if role in _AS_STORED else _FLOAT32_BYTES
        if role == "embedding" and spec.tie_word_embeddings and stored != _FLOAT32_BYTES:
            item += _FLOAT32_BYTES
        total += item * math.prod(shape)
    return total


def weight_bytes_per_step(spec: ModelSpec, dtypes: Mapping[str, str], sequences: int) -> int:
    """Bytes of weights one decode step of ``sequences`` tokens has to read.

    Everything but the experts is read once, for all sequences together; of the embedding table,
    which counts only where it is the output head too, a few rows are neglected. Of E experts,
    tokens that choose k each, independently and evenly, touch E (1 - (1 - k/E)^sequences): for one
    sequence exactly k.
    """
    total = 0.0
    for name, shape in parameter_shapes(spec).items():
        role, size = role_of(name), float(math.prod(shape))
        if role == "embedding" and not spec.tie_word_embeddings:
            continue
        item = _FLOAT32_BYTES
        if role == "experts" and isinstance(spec.mlp, SparseMoeSpec):
            item = ITEM_BYTES[dtypes[name]]
            size *= 1 - (1 - spec.mlp.top_k / spec.mlp.num_experts) ** sequences
        total += item * size
    return round(total)
