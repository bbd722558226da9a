"""Recipes that move elements: slice, transpose, squeeze, concat, stack."""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource, UnaryRecipe
from deltaport.graph_passes.recipes.region import Region

__all__ = ["Concat", "Slice", "Squeeze", "Stack", "Transpose"]


@dataclass(frozen=True, repr=False)
class Slice(UnaryRecipe):
    """Elements ``start`` to ``stop`` of one axis."""

    kind = "slice"

    inner: Recipe
    axis: int
    start: int
    stop: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        shape = self.inner.shape
        _check_axis("slice", self.axis, len(shape))
        if not 0 <= self.start <= self.stop <= shape[self.axis]:
            raise ValueError(
                f"slice: {self.start}:{self.stop} is not inside axis {self.axis} of shape {shape}"
            )
        size = self.stop - self.start
        self._set(shape=_replaced(shape, self.axis, size), dtype=self.inner.dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        start, stop = region[self.axis]
        shifted = (start + self.start, stop + self.start)
        return self.inner.read(source, _replaced(region, self.axis, shifted))


@dataclass(frozen=True, repr=False)
class Transpose(UnaryRecipe):
    """Axes reordered as by ``numpy.transpose``: result axis ``i`` is input axis ``perm[i]``."""

    kind = "transpose"

    inner: Recipe
    perm: tuple[int, ...]
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        shape, perm = self.inner.shape, tuple(self.perm)
        if sorted(perm) != list(range(len(shape))):
            raise ValueError(f"transpose: perm {perm} is not a permutation of {len(shape)} axes")
        self._set(perm=perm, shape=tuple(shape[axis] for axis in perm), dtype=self.inner.dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        by_axis = dict(zip(self.perm, region, strict=True))
        inner = tuple(by_axis[axis] for axis in range(len(region)))
        return self.inner.read(source, inner).transpose(self.perm)


@dataclass(frozen=True, repr=False)
class Squeeze(UnaryRecipe):
    """One axis of size 1 removed."""

    kind = "squeeze"

    inner: Recipe
    axis: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        shape = self.inner.shape
        _check_axis("squeeze", self.axis, len(shape))
        if shape[self.axis] != 1:
            raise ValueError(f"squeeze: axis {self.axis} of shape {shape} is not of size 1")
        self._set(shape=_removed(shape, self.axis), dtype=self.inner.dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        inner = _inserted(region, self.axis, (0, 1))
        return self.inner.read(source, inner).squeeze(self.axis)


@dataclass(frozen=True, repr=False)
class Concat(Recipe):
    """Parts joined along an existing axis; dtypes and all other sizes must agree."""

    kind = "concat"

    parts: tuple[Recipe, ...]
    axis: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)
    _starts: tuple[int, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        _check_parts("concat", parts)
        _check_axis("concat", self.axis, len(parts[0].shape))
        for part in parts:
            if _replaced(part.shape, self.axis, 0) != _replaced(parts[0].shape, self.axis, 0):
                raise ValueError(
                    f"concat: shapes {parts[0].shape} and {part.shape} do not join along axis "
                    f"{self.axis}"
                )
        *starts, total = accumulate((part.shape[self.axis] for part in parts), initial=0)
        shape = _replaced(parts[0].shape, self.axis, total)
        self._set(parts=parts, shape=shape, dtype=parts[0].dtype, _starts=tuple(starts))

    def _inputs(self) -> tuple[Recipe, ...]:
        return self.parts

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        start, stop = region[self.axis]
        out = np.empty([b - a for a, b in region], self.dtype)
        # The last part that begins at or before start: parts of size 0 share their start with
        # their successor, which is then found instead.
        for index in range(max(bisect_right(self._starts, start) - 1, 0), len(self.parts)):
            part, offset = self.parts[index], self._starts[index]
            low, high = max(start, offset), min(stop, offset + part.shape[self.axis])
            if offset >= stop:
                break
            if low < high:
                inner = _replaced(region, self.axis, (low - offset, high - offset))
                place = _along(self.axis, low - start, high - start)
                out[place] = part.read(source, inner)
        return out


@dataclass(frozen=True, repr=False)
class Stack(Recipe):
    """Parts of one shape and dtype along a new leading axis, such as the experts of a layer."""

    kind = "stack"

    parts: tuple[Recipe, ...]
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        _check_parts("stack", parts)
        for part in parts:
            if part.shape != parts[0].shape:
                raise ValueError(f"stack: shapes {parts[0].shape} and {part.shape} differ")
        self._set(parts=parts, shape=(len(parts), *parts[0].shape), dtype=parts[0].dtype)

    def _inputs(self) -> tuple[Recipe, ...]:
        return self.parts

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        (start, stop), *rest = region
        out = np.empty([b - a for a, b in region], self.dtype)
        for index in range(start, stop):
            out[index - start] = self.parts[index].read(source, tuple(rest))
        return out


def _check_axis(kind: str, axis: int, rank: int) -> None:
    if not 0 <= axis < rank:
        raise ValueError(f"{kind}: axis {axis} is not one of {rank} axes")


def _check_parts(kind: str, parts: tuple[Recipe, ...]) -> None:
    if not parts:
        raise ValueError(f"{kind}: expected at least one part")
    for part in parts:
        if part.dtype != parts[0].dtype:
            raise ValueError(f"{kind}: dtypes {parts[0].dtype} and {part.dtype} differ")


def _replaced(values: tuple[Any, ...], axis: int, value: Any) -> tuple[Any, ...]:
    return (*values[:axis], value, *values[axis + 1 :])


def _inserted(values: tuple[Any, ...], axis: int, value: Any) -> tuple[Any, ...]:
    return (*values[:axis], value, *values[axis:])


def _removed(values: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    return (*values[:axis], *values[axis + 1 :])


def _along(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, stop))
