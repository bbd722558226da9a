"""An engine of which only the first graph passes were run: to find the one that breaks it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from deltaport.errors import InputError
from deltaport.exporter.export import ExportEvents, StorageDtype, export_checkpoint
from deltaport.graph_passes.target_capabilities import target_named
from deltaport.package import Manifest

__all__ = ["PassesPrefix", "passes_prefix", "prefix_engine"]

_BODIES = "attach-function-bodies"
"""Without it no runtime knows ops of ours."""


@dataclass(frozen=True)
class PassesPrefix:
    """The first ``count`` of the ``of`` passes of a target, and the pipeline that ran, as text."""

    count: int
    of: int
    pipeline: str

    def describe(self) -> str:
        """``the first 2 of 20: verify-graph,verify-state-layout``."""
        return f"the first {self.count} of {self.of}: {self.pipeline}"


def passes_prefix(target: str, count: int) -> PassesPrefix:
    """The first ``count`` passes of a target's pipeline, and function bodies in any case.

    Raises ``InputError`` unless there are so many.
    """
    from deltaport.graph_passes.pipeline import default_pipeline, parse_pipeline

    whole = default_pipeline(target_named(target))
    if not 0 <= count <= len(whole):
        raise InputError(
            f"--passes-prefix {count}: target {target} has {len(whole)} passes; expected 0 to "
            f"{len(whole)}"
        )
    passes = whole.prefix(count)
    if all(found.name != _BODIES for found in passes):
        passes = parse_pipeline(",".join(filter(None, (passes.text, _BODIES))))
    return PassesPrefix(count, len(whole), passes.text)


@contextmanager
def prefix_engine(
    checkpoint: Path,
    manifest: Manifest,
    prefix: PassesPrefix,
    *,
    accept_fields: Collection[str],
    stage: Callable[[str], None],
) -> Iterator[Path]:
    """Export ``checkpoint`` as the engine of ``manifest`` was, but with the passes of ``prefix``.

    The engine is in a temporary folder, which is removed with the block, however that ends.
    """
    # Matrices of several dtypes are those of the checkpoint as they are.
    one = manifest.dtype in get_args(StorageDtype)
    with tempfile.TemporaryDirectory(prefix="deltaport-") as folder:
        engine = Path(folder) / "engine"
        export_checkpoint(
            checkpoint,
            engine,
            target=manifest.target,
            dtype=cast("StorageDtype", manifest.dtype) if one else "auto",
            passes=prefix.pipeline,
            accept_fields=accept_fields,
            events=ExportEvents(stage=stage),
        )
        yield engine
