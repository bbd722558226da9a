"""An engine to be: all that an export decides before it writes the first byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ml_dtypes import bfloat16

from deltaport.errors import InputError
from deltaport.exporter.checkpoint import Checkpoint
from deltaport.exporter.copied_files import copied_files
from deltaport.exporter.generation_config import eos_token_ids
from deltaport.exporter.model_size import packed_bytes, parameter_shapes, stored_as_float32
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.weight_names import Binding, bind
from deltaport.graph_passes.quantize.quantization_recipe import QuantizationRecipe
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.target_capabilities import TargetCapabilities
from deltaport.package import Quantization
from deltaport.state_layout import StateLayout
from deltaport.strict_json import quote
from deltaport.weight_roles import MATRIX_ROLES, role_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from deltaport.exporter.compile_graph import Compilation
    from deltaport.exporter.dump_folder import DumpFolder

__all__ = ["CheckedCheckpoint", "ExportEvents", "ExportPlan", "StorageDtype", "checked", "planned"]

StorageDtype = Literal["auto", "float32", "bfloat16", "float16"]
"""How matrices are stored; ``auto`` keeps what the checkpoint stores."""

_NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(bfloat16),
}


@dataclass(frozen=True)
class ExportEvents:
    """Hooks for whoever shows progress.

    Stages come by name, what the passes did when they are done, weight bytes as they are written.
    """

    stage: Callable[[str], None] = lambda _: None
    compiled: Callable[[Compilation], None] = lambda _: None
    weights: Callable[[int], None] = lambda _: None
    wrote: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class CheckedCheckpoint:
    """A checkpoint of which every field and every tensor is accounted for.

    ``weights`` is open within :func:`checked` only. ``storage`` is the dtype the engine stores
    each parameter in, but for those that ``recipe``, if there is one, gives another format.
    """

    folder: Path
    spec: ModelSpec
    eos_token_ids: tuple[int, ...]
    weights: Checkpoint
    binding: Binding
    storage: dict[str, np.dtype[Any]]
    recipe: QuantizationRecipe | None

    @property
    def matrix_dtype(self) -> str:
        """``bfloat16``, or ``bfloat16+float32`` if the matrices of a checkpoint differ."""
        recipes = self.binding.recipes
        matrices = {
            dtype.name
            for name, dtype in self.storage.items()
            if not stored_as_float32(name, recipes[name].shape)
        }
        return "+".join(sorted(matrices))

    @property
    def not_exported(self) -> dict[str, int]:
        """How many tensors are left out, by what they belong to."""
        return {kind: len(names) for kind, names in self.binding.not_exported.items()}

    @property
    def stored_bytes(self) -> int:
        """Bytes the engine's file of weights will have, known before anything is traced."""
        return packed_bytes(map(self._parameter_bytes, self.storage))

    @property
    def plain_bytes(self) -> int:
        """The same of the engine without quantization."""
        return replace(self, recipe=None).stored_bytes

    def _parameter_bytes(self, name: str) -> int:
        shape = self.binding.recipes[name].shape
        format_ = None if self.recipe is None else self.recipe.format_of(name)
        if format_ is not None:
            return format_.stored_bytes(shape)
        return math.prod(shape) * self.storage[name].itemsize


@contextmanager
def checked(
    folder: Path,
    *,
    dtype: StorageDtype,
    accept_fields: Collection[str],
    recipe: QuantizationRecipe | None = None,
) -> Iterator[CheckedCheckpoint]:
    """Read and check a checkpoint folder, and keep it open for the block."""
    spec = ModelSpec.from_checkpoint(folder, accept_fields=accept_fields)
    end_tokens = eos_token_ids(folder, spec)
    copied_files(folder)  # for what is wrong with them, before any work is done
    with Checkpoint.open(folder) as weights:
        binding = bind(parameter_shapes(spec), weights, tied=spec.tie_word_embeddings)
        storage = {name: _storage(name, each, dtype) for name, each in binding.recipes.items()}
        if recipe is not None:
            _check_recipe(recipe, storage)
        yield CheckedCheckpoint(folder, spec, end_tokens, weights, binding, storage, recipe)


def _check_recipe(recipe: QuantizationRecipe, names: Collection[str]) -> None:
    """Raise ``InputError`` for a recipe that the model is not one for."""
    roles = dict.fromkeys(role_of(name) for name in names)
    if not any(recipe.format_of(name) for name in names):
        raise InputError(
            f"--quantize: recipe {quote(recipe.name[:80])} quantizes nothing of this model, which "
            f"has {', '.join(role for role in roles if role in MATRIX_ROLES)}"
        )
    both = "experts", "shared_expert"
    if all(role in roles for role in both) and len({role in recipe.formats for role in both}) > 1:
        raise InputError(
            f"--quantize: recipe {quote(recipe.name[:80])} gives one of experts and shared_expert "
            "a format; they are computed together, so give both one, or neither"
        )


def _storage(name: str, recipe: Recipe, dtype: StorageDtype) -> np.dtype[Any]:
    if stored_as_float32(name, recipe.shape):
        return np.dtype(np.float32)
    return recipe.dtype if dtype == "auto" else _NUMPY_DTYPES[dtype]


@dataclass(frozen=True)
class ExportPlan:
    """The finished graph, its weights still recipes over the checkpoint."""

    checkpoint: CheckedCheckpoint
    target: TargetCapabilities
    model: ir.Model
    layout: StateLayout
    compilation: Compilation

    @property
    def weight_sizes(self) -> list[int]:
        """Bytes of every weight as it will be stored, in the order they will be written."""
        from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor

        values = (value.const_value for value in self.model.graph.initializers.values())
        return [tensor.nbytes for tensor in values if isinstance(tensor, RecipeTensor)]

    @property
    def quantization(self) -> Quantization | None:
        """What of the weights is quantized, None where nothing is."""
        from deltaport.exporter.quantized_sizes import quantized_roles

        roles = quantized_roles(self.model.graph, self.checkpoint.binding.recipes)
        recipe = self.compilation.recipe
        return Quantization(recipe, roles) if roles and recipe is not None else None


def planned(
    checkpoint: CheckedCheckpoint,
    target: TargetCapabilities,
    events: ExportEvents,
    *,
    quantize: str | None = None,
    passes: str | None = None,
    dumps: DumpFolder | None = None,
) -> ExportPlan:
    """Trace the model and run ``passes`` over it, or those of ``target`` and a recipe."""
    events.stage("tracing the model")
    # Only now: torch and onnx take seconds to import, and what is wrong with a checkpoint should
    # be said at once.
    from deltaport.exporter.bind_weights import bind_weights
    from deltaport.exporter.compile_graph import compile_graph
    from deltaport.exporter.trace import trace
    from deltaport.graph_passes.decoder_layout import layout_of

    model = trace(checkpoint.spec, checkpoint.storage)
    bind_weights(model.graph, checkpoint.binding.recipes)
    events.stage("running passes")
    model, compilation = compile_graph(model, target, recipe=quantize, passes=passes, dumps=dumps)
    events.compiled(compilation)
    return ExportPlan(checkpoint, target, model, layout_of(model), compilation)
