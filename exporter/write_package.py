"""Write an engine folder: evaluate recipes piece by piece, then the graph, then the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from deltaport import __version__
from deltaport.custom_ops.definitions import DOMAIN_VERSION
from deltaport.errors import CheckpointError, DeltaportError, EngineError, OutputError
from deltaport.exporter.atomic_folder import AtomicFolder
from deltaport.exporter.copied_files import copied_files
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.write_weights import Progress, write_weights
from deltaport.graph_passes.recipes.recipe import TensorSource
from deltaport.graph_passes.target_capabilities import TargetCapabilities
from deltaport.package import (
    MANIFEST_NAME,
    FileDigest,
    FileEntry,
    Loss,
    Manifest,
    Plan,
    Quantization,
)
from deltaport.package.plan_layers import LAYERS_NAME
from deltaport.state_layout import StateLayout

__all__ = ["DECODER_NAME", "write_package"]

DECODER_NAME = "decoder.onnx"


def write_package(
    folder: AtomicFolder,
    model: ir.Model,
    *,
    spec: ModelSpec,
    eos_token_ids: tuple[int, ...],
    layout: StateLayout,
    target: TargetCapabilities,
    dtype: str,
    quantization: Quantization | None,
    not_exported: dict[str, int],
    checkpoint: Path,
    source: TensorSource,
    shards: Sequence[Path] = (),
    progress: Progress = lambda _: None,
    measure: Callable[[Path], Loss] | None = None,
    build: Callable[[Path], Plan] | None = None,
) -> Manifest:
    """Write ``model`` and all a runtime needs to ``folder``, reproducibly, and commit it.

    Memory stays bounded by the size of a piece whatever the size of the model, and by that of the
    scales of one quantized weight. ``folder`` is already entered: it sees to it that nothing
    half-written stays, but for what an export that is killed can be gone on with. ``shards`` are
    the files behind ``source``. ``build`` makes a plan of the graph in a folder, and perhaps tells
    its layers there. ``measure`` tells what quantizing costs the engine that is finished in a
    folder; where it fails the engine is kept all the same, and the error says so.
    """
    folder.take_over()
    entries = [write_weights(folder.path, model.graph, shards, source, progress)]
    entries.append(_write_graph(folder.path, model))
    plan = None if build is None else build(folder.path)
    if plan is not None:
        entries.append(_entry(folder.path / plan.file))
        layers = folder.path / LAYERS_NAME
        entries += [_entry(layers)] if layers.exists() else []
    entries += _copy_files(checkpoint, folder.path)
    manifest = Manifest(
        deltaport_version=__version__,
        target=target.name,
        ragged=target.ragged,
        dtype=dtype,
        decoder=DECODER_NAME,
        vocab_size=spec.vocab_size,
        max_positions=spec.max_positions,
        eos_token_ids=eos_token_ids,
        op_library_version=DOMAIN_VERSION,
        quantization=quantization,
        model=spec.to_json(),
        not_exported=not_exported,
        state=layout,
        files=tuple(sorted(entries, key=lambda entry: entry.path)),
        plan=plan,
    )
    _write(folder.path / MANIFEST_NAME, iter([_proven_text(manifest, folder.shown)]))
    problem: Exception | None = None
    if measure is not None and quantization is not None:
        try:
            measured = replace(quantization, loss=measure(folder.path))
            manifest = replace(manifest, quantization=measured)
            _write(folder.path / MANIFEST_NAME, iter([_proven_text(manifest, folder.shown)]))
        except (DeltaportError, OSError, MemoryError) as error:
            problem = error
    folder.commit()
    if problem is not None:
        raise OutputError(
            f"{folder.shown}: the engine is complete, but what quantizing costs it was not "
            f"measured: {str(problem) or type(problem).__name__}"
        )
    return manifest


def _proven_text(manifest: Manifest, target: str) -> bytes:
    """The manifest's file, having read it back: what cannot be opened must not be left behind."""
    text = manifest.to_json()
    try:
        problem = "" if Manifest.from_json(text, source=MANIFEST_NAME) == manifest else "it changed"
    except EngineError as error:
        problem = str(error)
    if problem:
        # Whatever a user can get wrong was refused before, so this is no DeltaportError.
        raise RuntimeError(f"{target}: not written: {MANIFEST_NAME} does not read back: {problem}")
    return text.encode()


def _write_graph(folder: Path, model: ir.Model) -> FileEntry:
    # The trace records Python call stacks in metadata: large, of no use to a runtime, and not the
    # same from one machine to the next.
    cleaned = ClearMetadataAndDocStringPass()(model).model
    data = ir.serde.serialize_model(cleaned).SerializeToString(deterministic=True)
    return _write(folder / DECODER_NAME, iter([data]))


def _copy_files(checkpoint: Path, folder: Path) -> list[FileEntry]:
    return [_write(folder / path.name, iter([_read(path)])) for path in copied_files(checkpoint)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None


def _write(path: Path, chunks: Iterator[bytes | memoryview]) -> FileEntry:
    """Write and hash in one go, and make sure the bytes are on the disk."""
    digest = FileDigest()
    size = 0
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(path.name, size, digest.hexdigest())


def _entry(path: Path) -> FileEntry:
    """A file that somebody else wrote, made sure to be on the disk."""
    digest, piece = FileDigest(), 1 << 24
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while data := file.read(piece):
            digest.update(data)
    return FileEntry(path.name, path.stat().st_size, digest.hexdigest())
