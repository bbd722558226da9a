"""Write the file of an engine's weights: piece by piece, and from where an export was killed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import onnx_ir as ir

from deltaport import __version__
from deltaport.exporter.model_size import WEIGHT_ALIGNMENT, packed_bytes
from deltaport.exporter.write_journal import Progressed, WriteJournal
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.kept_scales import keeping_scales
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.package import FileDigest, FileEntry
from deltaport.runtime.kernel_library import kernel_library

__all__ = ["WEIGHTS_NAME", "Progress", "weight_bytes", "write_weights"]

WEIGHTS_NAME = "decoder.onnx.data"
NOTED_EVERY = 256 << 20
"""Bytes after which, at the end of a weight, is noted how far the export is."""
Weights = Sequence[tuple[ir.Value, RecipeTensor]]
Progress = Callable[[int], None]
"""Called with the number of weight bytes just written."""


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all weights, as they will be stored."""
    return sum(tensor.nbytes for _, tensor in _recipes(model.graph))


def write_weights(
    folder: Path,
    graph: ir.Graph,
    shards: Sequence[Path],
    source: TensorSource,
    progress: Progress,
) -> FileEntry:
    """Evaluate every recipe into one file, and point the initializers there.

    What an export of the same weights had written to ``folder`` when it was killed is kept, if it
    is what was noted. Weights that are kept count as written, too. ``shards`` are the files behind
    ``source``.
    """
    weights = list(_recipes(graph))
    journal = WriteJournal(folder, _fingerprint(weights, shards))
    left = journal.begin(WEIGHTS_NAME)
    path = folder / WEIGHTS_NAME
    with path.open("wb" if left is None else "r+b") as file:
        writer = _Writer(file, journal, progress)
        kept = writer.go_on(left, weights) if left is not None else 0
        for value, tensor in weights[:kept]:
            writer.point(value, tensor)
        with keeping_scales():
            for value, tensor in weights[kept:]:
                writer.write(value, tensor, source)
        file.flush()
        os.fsync(file.fileno())
    journal.end()
    return FileEntry(WEIGHTS_NAME, writer.size, writer.digest.hexdigest())


def _recipes(graph: ir.Graph) -> Iterator[tuple[ir.Value, RecipeTensor]]:
    for value in graph.initializers.values():
        if isinstance(value.const_value, RecipeTensor):
            yield value, value.const_value


def _fingerprint(weights: Weights, shards: Sequence[Path]) -> str:
    """Of what is written, and of what it is made of and by.

    When a file's metadata last changed cannot be set, unlike when its contents did.
    """
    digest = hashlib.sha256(__version__.encode())
    for value, tensor in weights:
        text = json.dumps([value.name, tensor.nbytes, tensor.recipe.describe()])
        digest.update(text.encode())
    quantizer = [kernel_library()] if any(_is_quantized(t.recipe) for _, t in weights) else []
    for path in (*shards, *quantizer):
        found = path.stat()
        known = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def _is_quantized(recipe: Recipe) -> bool:
    return any(isinstance(part, Codes | Scales) for part in recipe.walk())


class _Writer:
    """The file, its checksum and its size as they grow."""

    def __init__(self, file: IO[bytes], journal: WriteJournal, progress: Progress) -> None:
        self.digest = FileDigest()
        self.size = 0
        self._file = file
        self._journal = journal
        self._progress = progress
        self._weights = 0
        self._noted = 0
        self._offset = 0  # where the next weight begins, less padding

    def go_on(self, left: Progressed, weights: Weights) -> int:
        """Keep what is there if it is what was noted, or begin anew; how many weights are kept."""
        digest, size = FileDigest(), 0
        expected = packed_bytes(tensor.nbytes for _, tensor in weights[: left.weights])
        while size < left.bytes and (piece := self._file.read(min(16 << 20, left.bytes - size))):
            digest.update(piece)
            size += len(piece)
        kept = (size, digest.hexdigest()) == (left.bytes, left.sha256) and size == expected
        if kept:
            self.digest, self.size, self._noted = digest, size, size
            self._weights = left.weights
            self._progress(sum(tensor.nbytes for _, tensor in weights[: left.weights]))
        self._file.seek(self.size)
        self._file.truncate()
        return self._weights

    def point(self, value: ir.Value, tensor: RecipeTensor) -> None:
        """Say where in the file a weight is, the next one after those before."""
        start = self._offset + -self._offset % WEIGHT_ALIGNMENT
        self._offset = start + tensor.nbytes
        value.const_value = ir.ExternalTensor(
            WEIGHTS_NAME,
            start,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.recipe.shape),
            name=tensor.name or "",
        )

    def write(self, value: ir.Value, tensor: RecipeTensor, source: TensorSource) -> None:
        """Append a weight, from a new page on."""
        self._append(bytes(-self.size % WEIGHT_ALIGNMENT))
        start = self.size
        for piece in evaluate(tensor.recipe, source):
            self._append(piece)
            self._progress(len(piece))
        if self.size - start != tensor.nbytes:
            raise RuntimeError(
                f"{tensor.name}: recipe gave {self.size - start} bytes, expected {tensor.nbytes}"
            )
        self.point(value, tensor)
        self._weights += 1
        if self.size - self._noted >= NOTED_EVERY:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._journal.note(Progressed(self._weights, self.size, self.digest.hexdigest()))
            self._noted = self.size

    def _append(self, piece: bytes | memoryview) -> None:
        self._file.write(piece)
        self.digest.update(piece)
        self.size += len(piece)
