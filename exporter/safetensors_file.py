"""Reading ``.safetensors`` files region by region, in bounded resident memory.

The format is the one documented at https://github.com/huggingface/safetensors#format: eight bytes
of little-endian header length, a JSON object, then the data. The object maps each tensor's name to
``{"dtype": str, "shape": [int, ...], "data_offsets": [begin, end]}``, offsets counted in bytes from
the end of the header; ``__metadata__`` maps strings to strings. As in the official library, the
tensors must cover the data exactly: no overlap, no hole, nothing after the last.

This reader exists beside the official one because an exporter that streams tens of gigabytes must
say which pages it is done with: pages of a mapped file count as resident memory until dropped.
"""

import math
import mmap
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.graph_passes.recipes.region import Region, check_region
from deltaport.strict_json import JsonProblem, parse_object, quote

__all__ = [
    "DTYPES",
    "SafetensorsFile",
    "TensorEntry",
]

#: Bits per element of every dtype the format names.
_BITS = {
    **dict.fromkeys(["F4"], 4),
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6),
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"], 8),
    **dict.fromkeys(["F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8),
    **dict.fromkeys(["I16", "U16", "F16", "BF16"], 16),
    **dict.fromkeys(["I32", "U32", "F32"], 32),
    **dict.fromkeys(["I64", "U64", "F64", "C64"], 64),
}
#: The dtypes that can be read.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_MAX_HEADER = 100_000_000  # bytes; the official library's limit
_MAX_RANK = 32  # what every numpy 1.26+ can hold
_SPAN = 16 << 20  # bytes of one tensor that may stay resident between releases
# Linux maps 64 KiB around each page it faults in, so that is the unit worth dropping.
_GRAIN = max(mmap.PAGESIZE, 64 << 10)
_DAMAGED = "the file is damaged: download it again"


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: ``dtype`` as the format spells it, ``offset`` from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class SafetensorsFile:
    """One ``.safetensors`` file whose header has been checked; data are mapped on first use.

    ``tensors`` holds the entries in header order. Not safe for use from several threads.
    """

    def __init__(self, path: Path, tensors: dict[str, TensorEntry], size: int) -> None:
        self.path = path
        self.tensors = tensors
        self._size = size
        self._map: mmap.mmap | None = None
        self._closed = False
        self._touched: dict[str, tuple[int, int]] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read and check the header of ``path``; raise :class:`CheckpointError` if it is wrong."""
        path = Path(path)
        try:
            # Before open(), which would wait forever on a pipe.
            if not stat.S_ISREG(path.stat().st_mode):
                raise CheckpointError(f"{path}: not a regular file; expected a .safetensors file")
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header = _read_header(path, file, size)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); check the path") from None
        start = 8 + len(header)
        tensors = _parse_header(path, header, start)
        _check_layout(path, tensors.values(), start, size)
        return cls(path, tensors, size)

    def read(self, name: str, region: Region) -> NDArray[Any]:
        """Return a C-ordered copy of one region as float32, float16 or ml_dtypes.bfloat16.

        Raises :class:`CheckpointError` for an unknown tensor, a dtype that is none of these, or a
        file that changed size since it was opened (touching its lost pages would kill the process).
        """
        entry = self.tensors.get(name)
        if entry is None:
            raise CheckpointError(f"{self.path}: has no tensor {quote(name)}")
        dtype = DTYPES.get(entry.dtype)
        if dtype is None:
            raise CheckpointError(
                f"{self.path}: tensor {quote(name)} has dtype {entry.dtype}, expected one of "
                f"{', '.join(DTYPES)}; use an unquantized checkpoint"
            )
        check_region(region, entry.shape)
        out = np.empty([stop - start for start, stop in region], f"u{dtype.itemsize}")
        if out.size:
            # As integers: no float conversion can then alter a NaN's payload.
            whole: NDArray[Any] = np.ndarray(
                entry.shape, f"<u{dtype.itemsize}", self._mapped(), entry.offset
            )
            self._copy(name, whole, region, out)
        return out.view(dtype)

    def release(self, name: str) -> None:
        """Drop the pages that reads of this tensor made resident; no-op where unsupported."""
        low, high = self._touched.pop(name, (0, 0))
        if self._map is None or low == high or not hasattr(mmap, "MADV_DONTNEED"):
            return
        low = low // _GRAIN * _GRAIN
        high = min(-(-high // _GRAIN) * _GRAIN, len(self._map))
        try:
            self._map.madvise(mmap.MADV_DONTNEED, low, high - low)
        except OSError:  # e.g. pages locked by mlockall(): advice need not be taken
            return

    def close(self) -> None:
        """Unmap the file; reading afterwards is an error."""
        mapped, self._map, self._closed = self._map, None, True
        if mapped is not None:
            try:
                mapped.close()
            except BufferError:  # a traceback in flight still holds a view: unmapped with it
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _mapped(self) -> mmap.mmap:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        if self._map is None:
            try:
                with self.path.open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise CheckpointError(f"{self.path}: cannot be mapped ({error})") from None
        if not len(self._map) == self._map.size() == self._size:
            raise CheckpointError(
                f"{self.path}: is {self._map.size()} bytes, was {self._size} when opened; "
                "leave the checkpoint alone during an export"
            )
        return self._map

    def _copy(self, name: str, whole: NDArray[Any], region: Region, out: NDArray[Any]) -> None:
        """Copy ``whole[region]`` to ``out``, in blocks that span little of the file.

        A column block of a large matrix is small but touches every page of the matrix; halving the
        first axis until the span is small bounds what is resident at any moment.
        """
        base = self.tensors[name].offset
        low = base + sum(a * s for (a, _), s in zip(region, whole.strides, strict=True))
        high = base + sum((b - 1) * s for (_, b), s in zip(region, whole.strides, strict=True))
        high += whole.itemsize
        if high - low <= _SPAN:
            out[...] = whole[tuple(slice(start, stop) for start, stop in region)]
            self._touch(name, low, high)
            return
        axis = next(i for i, length in enumerate(out.shape) if length > 1)
        start, stop = region[axis]
        middle = (start + stop) // 2
        first, second = np.split(out, [middle - start], axis)
        self._copy(name, whole, (*region[:axis], (start, middle), *region[axis + 1 :]), first)
        self._copy(name, whole, (*region[:axis], (middle, stop), *region[axis + 1 :]), second)

    def _touch(self, name: str, low: int, high: int) -> None:
        seen_low, seen_high = self._touched.get(name, (low, high))
        low, high = min(low, seen_low), max(high, seen_high)
        self._touched[name] = low, high
        if high - low > _SPAN:
            self.release(name)


def _read_header(path: Path, file: BinaryIO, size: int) -> bytes:
    """Return the JSON part of the header; ``size`` is the file's, in bytes."""
    prefix = file.read(8)
    if prefix == b"version ":
        raise CheckpointError(
            f"{path}: is a Git LFS pointer, expected the weights; fetch them with 'git lfs pull'"
        )
    if len(prefix) < 8:
        raise CheckpointError(f"{path}: holds {size} bytes, expected at least 8; {_DAMAGED}")
    length = int.from_bytes(prefix, "little")
    if length > min(_MAX_HEADER, size - 8):
        raise CheckpointError(
            f"{path}: header claims {length} bytes, expected at most "
            f"{min(_MAX_HEADER, size - 8)}; truncated or not a safetensors file: download it again"
        )
    header = file.read(length)
    if len(header) != length:
        raise CheckpointError(f"{path}: ends inside its header; {_DAMAGED}")
    return header


def _parse_header(path: Path, header: bytes, start: int) -> dict[str, TensorEntry]:
    try:
        parsed = parse_object(header)
    except JsonProblem as problem:
        raise CheckpointError(f"{path}: header {problem}; {_DAMAGED}") from None
    metadata = parsed.pop("__metadata__", None)
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    ):
        raise CheckpointError(
            f"{path}: __metadata__ is {quote(metadata)}, expected strings by name; {_DAMAGED}"
        )
    return {name: _parse_entry(path, name, info, start) for name, info in parsed.items()}


def _parse_entry(path: Path, name: str, info: object, start: int) -> TensorEntry:
    def bad(found: str, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{path}: tensor {quote(name)} has {found}, expected {expected}; {_DAMAGED}"
        )

    if not isinstance(info, dict):
        raise bad(f"description {quote(info)}", "an object")
    dtype: Any = info.get("dtype")
    shape: Any = info.get("shape")
    offsets: Any = info.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise bad(f"unknown dtype {quote(dtype)}", f"one of {', '.join(_BITS)}")
    if not _are_sizes(shape) or len(shape) > _MAX_RANK:
        raise bad(f"shape {quote(shape)}", f"at most {_MAX_RANK} non-negative integers")
    # numpy computes strides from the non-zero sizes, which must not overflow even if one is zero.
    if math.prod(size for size in shape if size) * _BITS[dtype] >= 2**63:
        raise bad(f"shape {quote(shape)}", "fewer than 2**63 bits")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise bad(f"data_offsets {quote(offsets)}", "[begin, end] with begin <= end")
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
        raise bad(
            f"{end - begin} bytes of data", f"{math.prod(shape)} elements of {dtype} by its shape"
        )
    return TensorEntry(name, dtype, tuple(shape), start + begin, end - begin)


def _are_sizes(values: Any) -> bool:
    # type() and not isinstance(): true and false are ints to isinstance.
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _check_layout(path: Path, entries: Iterable[TensorEntry], start: int, size: int) -> None:
    """Check that the tensors cover the bytes from ``start`` to ``size`` once each."""
    ordered = sorted(entries, key=lambda entry: (entry.offset, entry.nbytes))
    end, previous = start, "the header"
    for entry in ordered:
        name = quote(entry.name)
        if entry.offset + entry.nbytes > size:
            raise CheckpointError(
                f"{path}: holds {size} bytes, expected at least {entry.offset + entry.nbytes} for "
                f"tensor {name}; the file is truncated: download it again"
            )
        if entry.offset != end:
            found = "overlaps" if entry.offset < end else "leaves a hole after"
            raise CheckpointError(
                f"{path}: tensor {name} begins at byte {entry.offset} and {found} {previous}, "
                f"expected it at byte {end}; {_DAMAGED}"
            )
        end, previous = entry.offset + entry.nbytes, f"tensor {name}"
    if end != size:
        raise CheckpointError(
            f"{path}: holds {size} bytes, expected its data to end at byte {end} with {previous}; "
            f"{_DAMAGED}"
        )
