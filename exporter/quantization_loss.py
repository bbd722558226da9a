"""What quantizing an engine costs, measured on a text beside the same engine without it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from deltaport.errors import CheckpointError, EngineError, InputError
from deltaport.evaluate import EvaluateEvents, evaluate
from deltaport.exporter.export_plan import ExportEvents, StorageDtype
from deltaport.package import Loss
from deltaport.runtime import Engine
from deltaport.text import TOKENIZER_NAME, TextTokenizer

__all__ = ["CONTEXT", "check_text", "measure_loss"]

CONTEXT = 4096
"""Most tokens a prediction has before it, or as many as the model takes."""
_REFERENCE = ".reference"


def check_text(checkpoint: Path, vocab_size: int, text: str) -> None:
    """Raise ``InputError`` for what would keep ``text`` from being read by an engine of its own."""
    if not os.path.lexists(checkpoint / TOKENIZER_NAME):
        raise InputError(
            f"--text: {checkpoint} has no {TOKENIZER_NAME} to read text with; put it there, or "
            "leave --text out"
        )
    try:
        tokens = TextTokenizer.load(checkpoint).encode(text, add_special_tokens=False)
    except EngineError as error:
        raise CheckpointError(str(error)) from None
    if len(tokens) < 2:
        raise InputError(
            f"--text: {len(tokens)} of the at least 2 tokens it takes to predict one; give it a "
            "longer text"
        )
    if max(tokens) >= vocab_size:
        raise CheckpointError(
            f"{checkpoint / TOKENIZER_NAME}: gives token {max(tokens)}, expected 0 to "
            f"{vocab_size - 1}; the file is of another model"
        )


def measure_loss(
    checkpoint: Path,
    engine: Path,
    text: str,
    *,
    target: str,
    dtype: StorageDtype,
    accept_fields: Collection[str],
    events: ExportEvents,
    read: EvaluateEvents | None = None,
) -> Loss:
    """Measure what quantizing costs a finished ``engine``, which nobody else writes to.

    The engine it is compared with is exported for the same target from the same checkpoint, into a
    folder inside, and removed again. Both read the text side by side.
    """
    from deltaport.exporter.export import export_checkpoint

    reference = engine / _REFERENCE
    try:
        export_checkpoint(
            checkpoint,
            reference,
            target=target,
            dtype=dtype,
            accept_fields=accept_fields,
            events=replace(
                events,
                stage=lambda stage: events.stage(f"without quantization, to compare: {stage}"),
                compiled=lambda _: None,
            ),
        )
        events.stage("reading the text with both")
        both = [Engine.open(folder, checksums=False) for folder in (engine, reference)]
        context = min(CONTEXT, both[0].manifest.max_positions)
        found = evaluate(both[0], text, against=both[1], context=context, events=read)
    finally:
        shutil.rmtree(reference, ignore_errors=True)
    assert found.reference is not None, "two engines were given"
    assert found.comparison is not None, "two engines were given"
    return Loss(
        tokens=found.tokens,
        context=context,
        reference_perplexity=found.reference.perplexity.mean,
        perplexity=found.score.perplexity.mean,
        kl=found.comparison.kl.mean,
        top1=found.comparison.top1,
    )
