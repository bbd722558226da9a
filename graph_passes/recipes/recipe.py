"""Initializers as recipes over checkpoint tensors, evaluated region by region.

A recipe says how an initializer is made (``cast(concat(a, b, axis=0), bfloat16)``) without holding
it. Any region of the result is computed from just the regions of the checkpoint it depends on, so
writing an engine of any size needs memory for a few pieces only. Every operation is elementwise or
moves elements, so the bytes do not depend on how the result is cut into pieces.

Here are what all recipes share and the leaf of their trees; ``recipe_kinds`` lists the operations.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.counted_names import SourceName, counted
from deltaport.graph_passes.recipes.region import Region, check_region
from deltaport.strict_json import quote

__all__ = ["Recipe", "RecordingSource", "Source", "TensorSource", "UnaryRecipe", "names_read"]

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]+")


class TensorSource(Protocol):
    """Where recipes read from: in an export a ``checkpoint.Checkpoint``."""

    def read(self, name: str, region: Region) -> NDArray[Any]:
        """Return a copy of one region of a tensor."""
        ...

    def release(self, name: str) -> None:
        """Give back the memory that reading the tensor took; it may be read again."""
        ...


class RecordingSource:
    """A source that remembers which tensors were read."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source
        self.names: dict[str, None] = {}

    def read(self, name: str, region: Region) -> NDArray[Any]:
        """Note the name and pass the request on."""
        self.names[name] = None
        return self._source.read(name, region)

    def release(self, name: str) -> None:
        """Pass the request on."""
        self._source.release(name)


class Recipe(ABC):
    """How to make one array of ``shape`` and ``dtype``; immutable, compared by value.

    A subclass is a frozen dataclass. The fields its ``__init__`` takes are recipes, whole numbers
    or tuples of them, floats and dtypes; with ``kind`` they make its text.
    """

    kind: ClassVar[str]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def sources(self) -> Iterator[str]:
        """Yield the names of the checkpoint tensors used, in order, each once."""
        yield from dict.fromkeys(name for part in self.walk() for name in part._reads())

    def walk(self) -> Iterator["Recipe"]:
        """Yield itself and all it is made of, depth first."""
        yield self
        for part in self._inputs():
            yield from part.walk()

    def part_count(self) -> int:
        """How many recipes it is made of, itself included."""
        return sum(1 for _ in self.walk())

    def read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        """Compute one region; the result may be read-only or strided, and must not be written.

        Raises ValueError if the region is outside ``shape``, CheckpointError as ``source`` does.
        """
        check_region(region, self.shape)
        return self._read(source, region)

    def describe(self) -> str:
        """All of the recipe as text: ``parse_recipe`` makes an equal one of it.

        As in ``transpose(a.weight:bfloat16[4,3], perm=(1, 0))``. Parts whose names count upwards
        are a range, ``stack(i=0..511: experts.{i}.weight:bfloat16[4,3])``.
        """
        return "".join(self._text())

    def _text(self) -> list[str]:
        """The text in pieces, each name one of its own."""
        given = [field.name for field in fields(cast(Any, self)) if field.init]
        arguments = [_argument(name, getattr(self, name)) for name in given]
        return [f"{self.kind}(", *_separated(arguments), ")"]

    def __repr__(self) -> str:
        return f"<{self.describe()}: {self.dtype.name}{list(self.shape)}>"

    @abstractmethod
    def _inputs(self) -> tuple["Recipe", ...]: ...

    @abstractmethod
    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]: ...

    def _reads(self) -> tuple[str, ...]:
        return ()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # frozen; called by __post_init__ alone


def names_read(recipe: "Recipe", source: TensorSource, region: Region, at: tuple[int, ...]) -> str:
    """The tensors, quoted, that the element at ``at`` of a region of ``recipe`` is made of.

    Reading the one element again tells which of possibly many tensors it comes from.
    """
    recorder = RecordingSource(source)
    recipe.read(recorder, tuple((a + i, a + i + 1) for (a, _), i in zip(region, at, strict=True)))
    return ", ".join(quote(name) for name in recorder.names)


class UnaryRecipe(Recipe):
    """A recipe with one input."""

    inner: Recipe

    def _inputs(self) -> tuple[Recipe, ...]:
        return (self.inner,)


@dataclass(frozen=True, repr=False)
class Source(Recipe):
    """A checkpoint tensor as it is."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        self._set(shape=tuple(self.shape), dtype=np.dtype(self.dtype))
        if any(size < 0 for size in self.shape):
            raise ValueError(f"source {self.name!r}: shape {self.shape} has a negative size")

    def _text(self) -> list[str]:
        plain = _PLAIN_NAME.fullmatch(self.name) is not None
        name = SourceName(self.name) if plain else json.dumps(self.name)
        return [name, f":{self.dtype.name}[{','.join(map(str, self.shape))}]"]

    def _inputs(self) -> tuple[Recipe, ...]:
        return ()

    def _reads(self) -> tuple[str, ...]:
        return (self.name,)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        values = source.read(self.name, region)
        expected = tuple(stop - start for start, stop in region)
        if values.dtype != self.dtype or values.shape != expected:
            raise ValueError(
                f"source {self.name!r}: read {values.dtype}{list(values.shape)}, "
                f"expected {self.dtype}{list(expected)}"
            )
        return values


def _argument(name: str, value: object) -> list[str]:
    """The pieces of one field: whole numbers with its name, what explains itself without."""
    match value:
        case Recipe():
            return value._text()
        case (Recipe(), *_):
            parts = [part._text() for part in cast(tuple[Recipe, ...], value)]
            return counted(parts) or _separated(parts)
        case np.dtype():
            return [value.name]
        case float():
            return [repr(value)]
    return [f"{name}={value}"]


def _separated(texts: Sequence[list[str]]) -> list[str]:
    return [piece for i, text in enumerate(texts) for piece in ([", "] if i else []) + text]
