"""Initializers as recipes over checkpoint tensors, evaluated region by region.

A recipe says how an initializer is made (``cast(concat(a, b, axis=0), bfloat16)``) without holding
it. Any region of the result is computed from just the regions of the checkpoint it depends on, so
writing an engine of any size needs memory for a few pieces only. Every operation is elementwise or
moves elements, so the bytes do not depend on how the result is cut into pieces.

Here are what all recipes share and the leaf of their trees; ``layout_recipes`` and ``cast_recipe``
hold the operations.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.region import Region, check_region
from deltaport.strict_json import quote

__all__ = ["Recipe", "RecordingSource", "Source", "TensorSource", "UnaryRecipe"]


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
    """How to make one array of ``shape`` and ``dtype``; immutable, compared by value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def sources(self) -> Iterator[str]:
        """Yield the names of the checkpoint tensors used, in order, each once."""
        yield from dict.fromkeys(name for part in self._walk() for name in part._reads())

    def read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        """Compute one region; the result may be read-only or strided, and must not be written.

        Raises ValueError if the region is outside ``shape``, CheckpointError as ``source`` does.
        """
        check_region(region, self.shape)
        return self._read(source, region)

    @abstractmethod
    def describe(self) -> str:
        """Return compact text for graph dumps, such as ``transpose(a.weight, perm=(1, 0))``."""

    def __repr__(self) -> str:
        return f"<{self.describe()}: {self.dtype.name}{list(self.shape)}>"

    @abstractmethod
    def _inputs(self) -> tuple["Recipe", ...]: ...

    @abstractmethod
    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]: ...

    def _reads(self) -> tuple[str, ...]:
        return ()

    def _walk(self) -> Iterator["Recipe"]:
        yield self
        for part in self._inputs():
            yield from part._walk()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # frozen; called by __post_init__ alone


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

    def describe(self) -> str:  # noqa: D102
        return self.name if self.name.isprintable() else quote(self.name)

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
