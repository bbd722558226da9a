"""What quantizing an engine cost, measured on a text beside the same engine without it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from deltaport.errors import CheckpointError, EngineError, InputError
from deltaport.evaluate import EvaluateEvents, evaluate
from deltaport.exporter.export import ExportEvents, StorageDtype, export_checkpoint
from deltaport.package import MANIFEST_NAME, Loss, Manifest, open_package
from deltaport.runtime import Engine
from deltaport.text import TOKENIZER_NAME, TextTokenizer

__all__ = ["CONTEXT", "check_text", "measure_loss"]

CONTEXT = 4096
"""Most tokens a prediction has before it, or as many as the model takes."""


def check_text(checkpoint: Path, text: str) -> None:
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


def measure_loss(
    checkpoint: Path,
    engine: Path,
    text: str,
    *,
    dtype: StorageDtype = "auto",
    accept_fields: Collection[str] = (),
    events: ExportEvents | None = None,
    read: EvaluateEvents | None = None,
) -> Manifest:
    """Measure what quantizing cost a finished ``engine``, and add that to its manifest.

    The engine it is compared with is exported for the same target from the same checkpoint, into a
    temporary folder beside it, and removed again. Both read the text side by side.
    """
    events = events or ExportEvents()
    manifest = open_package(engine, checksums=False)
    if manifest.quantization is None:
        raise InputError(f"{engine}: has no quantized weights; export it with --quantize")
    beside = Path(os.path.realpath(engine)).parent
    with tempfile.TemporaryDirectory(prefix=".deltaport-", dir=beside) as folder:
        reference = Path(folder) / "reference"
        export_checkpoint(
            checkpoint,
            reference,
            target=manifest.target,
            dtype=dtype,
            accept_fields=accept_fields,
            events=replace(
                events,
                stage=lambda stage: events.stage(f"without quantization, to compare: {stage}"),
                compiled=lambda _: None,
            ),
        )
        events.stage("reading the text with both")
        # Of both it is known that they are as their manifests say.
        found = evaluate(
            Engine.open(engine, checksums=False),
            text,
            against=Engine.open(reference, checksums=False),
            context=min(CONTEXT, manifest.max_positions),
            events=read,
        )
    assert found.reference is not None, "two engines were given"
    assert found.comparison is not None, "two engines were given"
    loss = Loss(
        tokens=found.tokens,
        context=found.context,
        reference_perplexity=found.reference.perplexity.mean,
        perplexity=found.score.perplexity.mean,
        kl=found.comparison.kl.mean,
        top1=found.comparison.top1,
    )
    measured = replace(manifest, quantization=replace(manifest.quantization, loss=loss))
    _replace_manifest(engine, measured)
    return measured


def _replace_manifest(engine: Path, manifest: Manifest) -> None:
    """Whole or not at all."""
    path = engine / MANIFEST_NAME
    partial = engine / f".{MANIFEST_NAME}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(manifest.to_json())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
