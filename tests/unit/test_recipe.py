"""Recipes against plain numpy on whole arrays, and their memory against a bound."""

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from deltaport.errors import CheckpointError
from deltaport.exporter.checkpoint import Checkpoint
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate, pieces
from deltaport.graph_passes.recipes.layout_recipes import Concat, Slice, Squeeze, Stack, Transpose
from deltaport.graph_passes.recipes.parse_recipe import parse_recipe
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.recipes.region import Region

F32, F16, BF16 = np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
FLOATS = [F32, F16, BF16]


class Arrays:
    """A TensorSource over arrays in memory that counts what is read and released."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        self.reads: list[str] = []
        self.held: set[str] = set()

    def read(self, name: str, region: Region) -> NDArray[Any]:
        self.reads.append(name)
        self.held.add(name)
        return self.arrays[name][tuple(slice(a, b) for a, b in region)].copy()

    def release(self, name: str) -> None:
        self.held.discard(name)


def source(name: str, *shape: int, dtype: Any = F32) -> Source:
    return Source(name, shape, np.dtype(dtype))


def written(recipe: Recipe, tensors: Any, max_bytes: int = 16 << 20) -> bytes:
    return b"".join(evaluate(recipe, tensors, max_bytes))


class Builder:
    """Draws a recipe and computes beside it, with numpy alone, the array it stands for."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.arrays: dict[str, NDArray[Any]] = {}
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def leaf(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Recipe, NDArray[Any]]:
        # Values float16 can hold, with the specials that must pass through.
        values = self.rng.uniform(-60000, 60000, shape).astype(np.float32)
        specials = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-7, 1 / 3], np.float32)
        array = np.where(
            self.rng.random(shape) < 0.2, self.rng.choice(specials, shape), values
        ).astype(dtype)
        name = f"t{len(self.arrays)}"
        self.arrays[name] = array
        return Source(name, shape, dtype), array

    def build(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], depth: int
    ) -> tuple[Recipe, NDArray[Any]]:
        """Return a recipe of exactly this shape and dtype, and its value."""
        draw, rank = self.draw, len(shape)
        if depth == 0:
            return self.leaf(shape, dtype)
        kinds = ["leaf", "cast", "transpose", "squeeze"]
        kinds += ["slice", "concat"] if rank else []
        kinds += ["stack"] if rank and shape[0] else []
        kind = draw(st.sampled_from(kinds))
        if kind == "cast":
            inner, value = self.build(shape, draw(st.sampled_from(FLOATS)), depth - 1)
            return Cast(inner, dtype), value.astype(dtype)
        if kind == "transpose":
            perm = tuple(draw(st.permutations(range(rank))))
            before = tuple(shape[perm.index(axis)] for axis in range(rank))
            inner, value = self.build(before, dtype, depth - 1)
            return Transpose(inner, perm), np.transpose(value, perm)
        if kind == "squeeze":
            axis = draw(st.integers(0, rank))
            inner, value = self.build((*shape[:axis], 1, *shape[axis:]), dtype, depth - 1)
            return Squeeze(inner, axis), np.squeeze(value, axis)
        if kind == "slice":
            axis = draw(st.integers(0, rank - 1))
            before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
            size = before + shape[axis] + after
            inner, value = self.build((*shape[:axis], size, *shape[axis + 1 :]), dtype, depth - 1)
            stop = before + shape[axis]
            return Slice(inner, axis, before, stop), np.take(value, range(before, stop), axis)
        if kind == "concat":
            axis = draw(st.integers(0, rank - 1))
            cuts = sorted(draw(st.lists(st.integers(0, shape[axis]), max_size=3)))
            sizes = np.diff([0, *cuts, shape[axis]]).tolist()
            built = [
                self.build((*shape[:axis], size, *shape[axis + 1 :]), dtype, depth - 1)
                for size in sizes
            ]
            value = np.concatenate([v for _, v in built], axis)
            return Concat(tuple(r for r, _ in built), axis), value
        if kind == "stack":
            built = [self.build(shape[1:], dtype, depth - 1) for _ in range(shape[0])]
            return Stack(tuple(r for r, _ in built)), np.stack([v for _, v in built])
        return self.leaf(shape, dtype)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(data=st.data())
def test_recipes_match_numpy(data: st.DataObject) -> None:
    builder = Builder(data.draw)
    shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=4)))
    recipe, value = builder.build(shape, data.draw(st.sampled_from(FLOATS)), 3)
    assert (recipe.shape, recipe.dtype) == (value.shape, value.dtype)
    tensors = Arrays(builder.arrays)

    bounds = [st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in shape]
    region: Region = tuple((a, b) for a, b in data.draw(st.tuples(*bounds)))
    part = recipe.read(tensors, region)
    expected = value[tuple(slice(a, b) for a, b in region)]
    assert (part.shape, part.dtype) == (expected.shape, expected.dtype)
    assert part.tobytes() == expected.tobytes()

    tensors.held.clear()
    assert written(recipe, tensors, data.draw(st.integers(1, 200))) == value.tobytes()
    assert tensors.held == set()
    assert list(recipe.sources()) == [n for n in builder.arrays if n in set(recipe.sources())]
    assert set(tensors.reads) <= set(recipe.sources())
    assert parse_recipe(recipe.describe()) == recipe
    hash(recipe)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_recipes_over_a_file_match_numpy(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    builder = Builder(data.draw)
    shape = tuple(data.draw(st.lists(st.integers(1, 5), max_size=3)))
    recipe, value = builder.build(shape, data.draw(st.sampled_from(FLOATS)), 3)
    folder = tmp_path_factory.getbasetemp() / "recipes"
    folder.mkdir(exist_ok=True)
    save_file(builder.arrays, folder / "model.safetensors")
    with Checkpoint.open(folder) as checkpoint:
        assert written(recipe, checkpoint, data.draw(st.integers(1, 99))) == value.tobytes()


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    shape=st.lists(st.integers(0, 7), max_size=5).map(tuple),
    itemsize=st.sampled_from([1, 2, 4, 8]),
    max_bytes=st.integers(1, 3000),
)
def test_pieces_cover_in_order(shape: tuple[int, ...], itemsize: int, max_bytes: int) -> None:
    array = np.arange(math.prod(shape)).reshape(shape)
    regions = list(pieces(shape, itemsize, max_bytes))
    cut = [array[tuple(slice(a, b) for a, b in region)] for region in regions]
    assert b"".join(piece.tobytes() for piece in cut) == array.tobytes()
    assert all(0 < p.size * itemsize <= max(max_bytes, itemsize) for p in cut)
    if array.size * itemsize <= max_bytes:
        assert len(regions) == (array.size > 0)


def test_pieces_by_example() -> None:
    assert list(pieces((), 4, 1)) == [()]
    assert list(pieces((4, 2), 4, 16)) == [((0, 2), (0, 2)), ((2, 4), (0, 2))]
    assert list(pieces((2, 4), 4, 8)) == [
        ((i, i + 1), (j, j + 2)) for i in range(2) for j in (0, 2)
    ]
    # Even pieces rather than a large one and a sliver.
    assert [b - a for ((a, b),) in pieces((17,), 1, 16)] == [9, 8]
    with pytest.raises(ValueError, match="max_bytes is 0"):
        list(pieces((1,), 1, 0))


A, B = source("a", 2, 3), source("b", 4, 3)
INVALID: list[tuple[Callable[[], Recipe], str]] = [
    (lambda: source("a", 2, -1), r"\(2, -1\) has a negative size"),
    (lambda: Slice(A, 2, 0, 1), "slice: axis 2 is not one of 2 axes"),
    (lambda: Slice(A, -1, 0, 1), "axis -1"),
    (lambda: Slice(A, 1, 0, 4), r"slice: 0:4 is not inside axis 1 of shape \(2, 3\)"),
    (lambda: Slice(A, 1, 2, 1), "2:1 is not inside"),
    (lambda: Slice(A, 1, -1, 1), "-1:1 is not inside"),
    (lambda: Transpose(A, (0,)), r"perm \(0,\) is not a permutation of 2 axes"),
    (lambda: Transpose(A, (0, 0)), "not a permutation"),
    (lambda: Transpose(A, (-1, 0)), "not a permutation"),
    (lambda: Squeeze(A, 1), "squeeze: axis 1 .* is not of size 1"),
    (lambda: Squeeze(A, 2), "squeeze: axis 2"),
    (lambda: Concat((), 0), "at least one part"),
    (lambda: Concat((A, B), 1), r"\(2, 3\) and \(4, 3\) do not join along axis 1"),
    (lambda: Concat((A, source("c", 2)), 0), "do not join"),
    (lambda: Concat((A, B), 2), "concat: axis 2"),
    (lambda: Concat((source("c"), source("d")), 0), "concat: axis 0 is not one of 0 axes"),
    (lambda: Concat((A, source("c", 2, 3, dtype=BF16)), 0), "float32 and bfloat16 differ"),
    (lambda: Stack(()), "at least one part"),
    (lambda: Stack((A, B)), r"stack: shapes \(2, 3\) and \(4, 3\) differ"),
    (lambda: Stack((A, source("c", 2, 3, dtype=F16))), "float32 and float16 differ"),
    (lambda: Cast(A, np.dtype(np.float64)), "float64 is none of float32, float16, bfloat16"),
    (lambda: Cast(source("c", 1, dtype=np.int64), F32), "int64 is none of"),
]


@pytest.mark.parametrize(("make", "message"), INVALID)
def test_what_does_not_fit_is_refused(make: Callable[[], Recipe], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_describe() -> None:
    joined = Cast(Concat((A, B), 0), BF16)
    text = "cast(concat(a:float32[2,3], b:float32[4,3], axis=0), bfloat16)"
    assert joined.describe() == text
    assert repr(joined) == f"<{text}: bfloat16[6, 3]>"
    assert list(Concat((A, B, A), 0).sources()) == ["a", "b"]


def test_region_outside_the_shape() -> None:
    for region in [(), ((0, 3), (0, 3)), ((1, 0), (0, 3))]:
        with pytest.raises(ValueError, match="is not inside shape"):
            A.read(Arrays({}), region)


def test_a_source_that_is_not_as_declared() -> None:
    with pytest.raises(ValueError, match="read float16"):
        written(A, Arrays({"a": np.zeros((2, 3), np.float16)}))


def test_bfloat16_rounds_to_nearest_even() -> None:
    rng = np.random.default_rng(5)
    bits = np.concatenate(
        [
            rng.integers(0, 2**32, 100_000, np.uint32),
            (rng.integers(0, 2**15, 1000, np.uint32) << 16) | 0x8000,  # exact ties
        ]
    )
    bits = bits[(bits & 0x7FFFFFFF) < 0x7F7F8000]  # finite after rounding
    expected = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    recipe = Cast(source("x", bits.size), BF16)
    assert written(recipe, Arrays({"x": bits.view(np.float32)}), 999) == expected.tobytes()


def test_nan_payloads_do_not_depend_on_pieces() -> None:
    bits = np.random.default_rng(6).integers(0, 2**23, 4099, np.uint32) | 0x7F800000
    for dtype in (F16, BF16):
        recipe = Cast(source("x", bits.size), dtype)
        tensors = Arrays({"x": bits.view(np.float32)})
        assert len({written(recipe, tensors, size) for size in (2, 7, 64, 1000, 1 << 20)}) == 1


@pytest.mark.parametrize(
    ("value", "start", "stop", "limit"),
    [
        (65520.0, F32, F16, "65504"),
        (-1e30, BF16, F16, "65504"),
        (3.4e38, F32, BF16, "3.38953e[+]38"),
    ],
)
def test_overflow_names_the_tensor(value: float, start: Any, stop: Any, limit: str) -> None:
    arrays = {f"e{i}": np.zeros((3, 2), start) for i in range(4)}
    arrays["e1"][1, 1] = np.inf
    arrays["e2"][2, 1] = value
    stacked = Stack(tuple(source(name, 3, 2, dtype=start) for name in arrays))
    recipe = Transpose(Cast(stacked, stop), (2, 0, 1))
    for max_bytes in (1, 10, 1000):
        with pytest.raises(CheckpointError, match=f"tensor 'e2': holds .*{limit}.*; choose") as e:
            written(recipe, Arrays(arrays), max_bytes)
        assert "\n" not in str(e.value)
    assert written(Slice(recipe, 1, 0, 2), Arrays(arrays))


def test_the_largest_values_are_no_overflow() -> None:
    top = np.array([65504, 65519, -65504, np.inf, -np.inf, np.nan], np.float32)
    expected = np.array([65504, 65504, -65504, np.inf, -np.inf, np.nan], np.float16)
    assert written(Cast(source("x", 6), F16), Arrays({"x": top})) == expected.tobytes()


def test_only_the_parts_a_region_meets_are_read() -> None:
    arrays = {f"e{i}": np.full((2, 3), i, np.float32) for i in range(512)}
    parts = tuple(source(name, 2, 3) for name in arrays)
    tensors = Arrays(arrays)
    Stack(parts).read(tensors, ((100, 102), (0, 1), (0, 3)))
    Concat(parts, 0).read(tensors, ((801, 804), (0, 3)))
    assert tensors.reads == ["e100", "e101", "e400", "e401"]
    # And in a whole evaluation, each once.
    tensors.reads.clear()
    assert len(written(Stack(parts), tensors, 24 * 16)) == 512 * 24
    assert tensors.reads == list(arrays)


MEASURE = """
import sys
from deltaport.exporter.checkpoint import Checkpoint
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.cast_recipe import *
from deltaport.graph_passes.recipes.layout_recipes import *
from deltaport.graph_passes.recipes.recipe import *
import ml_dtypes, numpy as np

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) << 10

bf16 = np.dtype(ml_dtypes.bfloat16)
checkpoint = Checkpoint.open(sys.argv[1])
entry = checkpoint.entry("w")
whole = Source("w", entry.shape, np.dtype(np.float32))
recipe = {
    "whole": whole,
    "cast": Cast(whole, bf16),
    "columns": Slice(whole, 1, 0, 64),
    "transposed": Cast(Transpose(Slice(whole, 1, 0, 2048), (1, 0)), bf16),
}[sys.argv[2]]
before, total = status("VmHWM"), 0
for piece in evaluate(recipe, checkpoint):
    total += len(piece)
print(total, status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whole", "cast", "columns", "transposed"])
def test_resident_memory_stays_small(tmp_path: Path, kind: str) -> None:
    shape = (1500 << 20) // 4 // 16384, 16384  # 1.5 GB of zeros that take no disk
    nbytes = math.prod(shape) * 4
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, nbytes]}
    header = json.dumps({"w": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + nbytes)
    command = [sys.executable, "-W", "error", "-c", MEASURE, str(tmp_path), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    total, growth = map(int, done.stdout.split())
    out_columns = {"whole": 16384 * 4, "cast": 16384 * 2, "columns": 64 * 4, "transposed": 2048 * 2}
    assert total == shape[0] * out_columns[kind]
    assert growth < 200e6
    print(f"{kind}: {growth / 1e6:.0f} MB")
