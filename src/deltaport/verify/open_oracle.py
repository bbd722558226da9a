"""Choosing an oracle, and whether this machine has the memory for it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Literal

from deltaport.errors import InputError
from deltaport.exporter.export_plan import CheckedCheckpoint
from deltaport.exporter.model_size import parameter_count
from deltaport.exporter.model_spec import ModelSpec
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.oracle import Oracle

__all__ = ["OracleKind", "bytes_needed", "choose", "in_words", "open_oracle", "refuse_if_too_large"]

OracleKind = Literal["auto", "transformers", "eager"]

_FLOAT32 = 4


def choose(kind: OracleKind) -> OracleKind:
    """``auto`` is transformers where it is installed; ``InputError`` if asked for it in vain."""
    installed = find_spec("transformers") is not None
    if kind == "auto":
        return "transformers" if installed else "eager"
    if kind == "transformers" and not installed:
        raise InputError(
            "--oracle transformers needs transformers, not installed here; install with: "
            "pip install 'deltaport[verify]', or pass --oracle eager"
        )
    return kind


def bytes_needed(spec: ModelSpec, *, tokens: int, new_tokens: int, prompts: int) -> int:
    """Memory a verification takes at the least: a model in float32, and logits to compare.

    Oracle and engine are never in memory together. A vision tower, which transformers loads with
    the rest, comes on top.
    """
    rows = tokens + new_tokens * prompts
    per_row = spec.vocab_size + (2 * spec.num_layers + 1) * spec.hidden_size
    return _FLOAT32 * (parameter_count(spec) + rows * per_row)


def refuse_if_too_large(needed: int) -> None:
    """Raise ``InputError`` where the machine has less memory altogether than ``needed``."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return
    if needed > total:
        raise InputError(
            f"verifying this model needs {in_words(needed)} of memory, as the oracle computes in "
            f"float32, and this machine has {in_words(total)}; use a larger machine"
        )


def in_words(count: int) -> str:
    """Bytes of memory: ``12.3 GB``, or ``45 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def open_oracle(
    kind: OracleKind, checkpoint: CheckedCheckpoint, rounding: MatrixRounding
) -> Oracle:
    """Load a checkpoint, still open, into the oracle that :func:`choose` chose.

    Its matrices are rounded as an export rounds them that does ``rounding``.
    """
    if kind == "transformers":
        from deltaport.verify.transformers_oracle import TransformersOracle

        return TransformersOracle(checkpoint.folder, checkpoint.spec, rounding)
    from deltaport.verify.eager_oracle import EagerOracle

    return EagerOracle(checkpoint, rounding)
