"""Initializers as recipes over checkpoint tensors, evaluated region by region.

A recipe says how an initializer is made (``cast(concat(a, b, axis=0), bfloat16)``) without holding
it. Any region of the result is computed from just the regions of the checkpoint it depends on, so
writing an engine of any size needs memory for a few pieces only. Every operation here is
elementwise or moves elements, so the bytes do not depend on how the result is cut into pieces.
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.graph_passes.recipes.region import Region, check_region
from deltaport.strict_json import quote

__all__ = [
    "Cast",
    "Concat",
    "Constant",
    "Recipe",
    "RecordingSource",
    "Slice",
    "Source",
    "Squeeze",
    "Stack",
    "TensorSource",
    "Transpose",
    "Unsqueeze",
]

#: Largest finite values: (2 - 2**-fraction_bits) * 2**largest_exponent.
_LARGEST = {"float16": (2 - 2**-10) * 2.0**15, "bfloat16": (2 - 2**-7) * 2.0**127}
_FLOATS = tuple(np.dtype(kind) for kind in (np.float32, np.float16, ml_dtypes.bfloat16))


class TensorSource(Protocol):
    """Where recipes read from: in an export a ``checkpoint.Checkpoint``."""

    def read(self, name: str, region: Region) -> NDArray[Any]:
        """Return a copy of one region of a tensor."""
        ...

    def release(self, name: str) -> None:
        """Give back the memory that reading the tensor took; it may be read again."""
        ...


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


@dataclass(frozen=True, repr=False, eq=False)
class Constant(Recipe):
    """A small array of booleans, integers or floats, copied so that it cannot change."""

    array: NDArray[Any]
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        array = np.array(self.array, order="C", copy=True)
        if array.dtype.kind not in "biuf" and array.dtype not in _FLOATS:
            raise ValueError(f"constant: dtype {array.dtype} is not a boolean, integer or float")
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        array.flags.writeable = False
        self._set(array=array, shape=array.shape, dtype=array.dtype)

    def __eq__(self, other: object) -> bool:
        # By bytes: a recipe equals itself even if it holds NaN, and 0.0 is not -0.0.
        return isinstance(other, Constant) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def describe(self) -> str:  # noqa: D102
        value = self.array.item() if self.array.size == 1 else "..."
        return f"constant({value}, {self.dtype.name}{list(self.shape)})"

    def _key(self) -> tuple[str, tuple[int, ...], bytes]:
        return self.dtype.name, self.shape, self.array.tobytes()

    def _inputs(self) -> tuple[Recipe, ...]:
        return ()

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        return self.array[tuple(slice(*bounds) for bounds in region)]


class _Unary(Recipe):
    """A recipe with one input."""

    inner: Recipe

    def _inputs(self) -> tuple[Recipe, ...]:
        return (self.inner,)


@dataclass(frozen=True, repr=False)
class Slice(_Unary):
    """Elements ``start`` to ``stop`` of one axis."""

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

    def describe(self) -> str:  # noqa: D102
        return f"slice({self.inner.describe()}, axis={self.axis}, {self.start}:{self.stop})"

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        start, stop = region[self.axis]
        shifted = (start + self.start, stop + self.start)
        return self.inner.read(source, _replaced(region, self.axis, shifted))


@dataclass(frozen=True, repr=False)
class Transpose(_Unary):
    """Axes reordered as by ``numpy.transpose``: result axis ``i`` is input axis ``perm[i]``."""

    inner: Recipe
    perm: tuple[int, ...]
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        shape, perm = self.inner.shape, tuple(self.perm)
        if sorted(perm) != list(range(len(shape))):
            raise ValueError(f"transpose: perm {perm} is not a permutation of {len(shape)} axes")
        self._set(perm=perm, shape=tuple(shape[axis] for axis in perm), dtype=self.inner.dtype)

    def describe(self) -> str:  # noqa: D102
        return f"transpose({self.inner.describe()}, perm={self.perm})"

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        by_axis = dict(zip(self.perm, region, strict=True))
        inner = tuple(by_axis[axis] for axis in range(len(region)))
        return self.inner.read(source, inner).transpose(self.perm)


@dataclass(frozen=True, repr=False)
class Squeeze(_Unary):
    """One axis of size 1 removed."""

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

    def describe(self) -> str:  # noqa: D102
        return f"squeeze({self.inner.describe()}, axis={self.axis})"

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        inner = _inserted(region, self.axis, (0, 1))
        return self.inner.read(source, inner).squeeze(self.axis)


@dataclass(frozen=True, repr=False)
class Unsqueeze(_Unary):
    """One axis of size 1 inserted, to become axis ``axis`` of the result."""

    inner: Recipe
    axis: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        _check_axis("unsqueeze", self.axis, len(self.inner.shape) + 1)
        self._set(shape=_inserted(self.inner.shape, self.axis, 1), dtype=self.inner.dtype)

    def describe(self) -> str:  # noqa: D102
        return f"unsqueeze({self.inner.describe()}, axis={self.axis})"

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        start, stop = region[self.axis]
        inner = self.inner.read(source, _removed(region, self.axis))
        return np.expand_dims(inner, self.axis)[_along(self.axis, start, stop)]


@dataclass(frozen=True, repr=False)
class Concat(Recipe):
    """Parts joined along an existing axis; dtypes and all other sizes must agree."""

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

    def describe(self) -> str:  # noqa: D102
        return f"concat({_listed(self.parts)}, axis={self.axis})"

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

    def describe(self) -> str:  # noqa: D102
        return f"stack({_listed(self.parts)})"

    def _inputs(self) -> tuple[Recipe, ...]:
        return self.parts

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        (start, stop), *rest = region
        out = np.empty([b - a for a, b in region], self.dtype)
        for index in range(start, stop):
            out[index - start] = self.parts[index].read(source, tuple(rest))
        return out


@dataclass(frozen=True, repr=False)
class Cast(_Unary):
    """Conversion among float32, float16 and bfloat16, rounding to nearest even.

    NaN and infinities pass through; a finite value that the new dtype cannot hold raises
    :class:`CheckpointError` when read, since an infinite weight would ruin the model silently.
    """

    inner: Recipe
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        dtype = np.dtype(self.dtype)
        for each in (self.inner.dtype, dtype):
            if each not in _FLOATS:
                raise ValueError(f"cast: {each} is none of {', '.join(d.name for d in _FLOATS)}")
        self._set(dtype=dtype, shape=self.inner.shape)

    def describe(self) -> str:  # noqa: D102
        return f"cast({self.inner.describe()}, {self.dtype.name})"

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        values = self.inner.read(source, region)
        if values.dtype == self.dtype:
            return values
        with np.errstate(all="ignore"):  # overflow is found below, and named
            cast = values.astype(self.dtype)
        if self.dtype != np.float32:
            lost = ~np.isfinite(cast)
            if lost.any():
                lost &= np.isfinite(values)
                if lost.any():
                    raise self._overflow(source, region, values, lost)
        return cast

    def _overflow(
        self, source: TensorSource, region: Region, values: NDArray[Any], lost: NDArray[np.bool_]
    ) -> CheckpointError:
        at = np.unravel_index(int(np.argmax(lost)), lost.shape)
        # Reading the one element again tells which of possibly many tensors it comes from.
        element = tuple((a + int(i), a + int(i) + 1) for (a, _), i in zip(region, at, strict=True))
        recorder = RecordingSource(source)
        self.inner.read(recorder, element)
        names = ", ".join(quote(name) for name in recorder.names) or "a constant"
        limit = _LARGEST[self.dtype.name]
        return CheckpointError(
            f"tensor {names}: holds {float(values[at]):g}, beyond {self.dtype.name}'s largest "
            f"value {limit:g}; choose a dtype with a wider range for the engine"
        )


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


def _listed(parts: tuple[Recipe, ...]) -> str:
    texts = [part.describe() for part in parts[:2]]
    if len(parts) > 4:
        return f"{texts[0]}, ..., {parts[-1].describe()}, parts={len(parts)}"
    return ", ".join([*texts, *(part.describe() for part in parts[2:])])
