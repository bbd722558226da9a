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
from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec
from deltaport.graph_passes.quantize.quantization_recipe import (
    quantization_recipe,
    shipped_recipes,
)
from deltaport.graph_passes.target_capabilities import target_named
from deltaport.package import MANIFEST_NAME, Manifest
from deltaport.strict_json import quote
from deltaport.weight_roles import role_of

__all__ = ["PassesPrefix", "passes_prefix", "prefix_engine"]

_BODIES = "attach-function-bodies"
"""Without it no runtime knows ops of ours."""


@dataclass(frozen=True)
class PassesPrefix:
    """The first ``count`` of the ``of`` passes of a target, and the pipeline that ran, as text.

    ``quantizes``: whether they store weights in 4 or 8 bits.
    """

    count: int
    of: int
    pipeline: str
    quantizes: bool

    def describe(self) -> str:
        """``the first 2 of 20: verify-graph,verify-state-layout``."""
        return f"the first {self.count} of {self.of}: {self.pipeline}"


def passes_prefix(manifest: Manifest, count: int) -> PassesPrefix:
    """The first ``count`` passes of an engine's pipeline, and function bodies in any case.

    Formats are chosen for weights only if they are among those passes that carry that out. Raises
    ``InputError`` unless there are so many, and for an engine whose recipe is not at hand.
    """
    from deltaport.graph_passes.pipeline import Pipeline, default_pipeline, parse_pipeline
    from deltaport.graph_passes.quantize.choose_formats import ChooseFormats
    from deltaport.graph_passes.quantize.quantize_to_qdq import QuantizeToQdq
    from deltaport.graph_passes.quantize.quantize_weights import QuantizeWeights

    target = manifest.target
    whole = default_pipeline(target_named(target), _recipe(manifest))
    if not 0 <= count <= len(whole):
        raise InputError(
            f"--passes-prefix {count}: target {target} has {len(whole)} passes; expected 0 to "
            f"{len(whole)}"
        )
    passes = whole.prefix(count)
    quantizes = any(isinstance(found, QuantizeWeights | QuantizeToQdq) for found in passes)
    if not quantizes:
        passes = Pipeline(tuple(p for p in passes if not isinstance(p, ChooseFormats)))
    if all(found.name != _BODIES for found in passes):
        passes = parse_pipeline(",".join(filter(None, (passes.text, _BODIES))))
    return PassesPrefix(count, len(whole), passes.text, quantizes)


def _recipe(manifest: Manifest) -> str | None:
    """The recipe an engine was quantized by, if it was, and if it comes with deltaport."""
    if manifest.quantization is None:
        return None
    name = manifest.quantization.recipe
    used = {role: stored.format for role, stored in manifest.quantization.roles.items()}
    spec = ModelSpec.from_json(manifest.model, source=MANIFEST_NAME)
    roles = set(map(role_of, parameter_shapes(spec)))
    if target_named(manifest.target).dequantizes and not spec.tie_word_embeddings:
        roles.discard("embedding")  # which stays in floating point
    shipped = quantization_recipe(name).formats if name in shipped_recipes() else {}
    if used != {role: format_ for role, format_ in shipped.items() if role in roles}:
        raise InputError(
            f"--passes-prefix: the engine was quantized by {quote(name[:80])}, which does not come "
            f"with deltaport; export it by one of {', '.join(shipped_recipes())}"
        )
    return name


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
