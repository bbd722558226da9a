"""The reader against files the official library wrote, and against damaged ones."""

import json
import os
import re
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from deltaport.errors import CheckpointError
from deltaport.exporter import safetensors_file
from deltaport.exporter.safetensors_file import SafetensorsFile
from deltaport.graph_passes.recipes.region import Region

BF16 = np.dtype(ml_dtypes.bfloat16)
deserialize: Any = safetensors.deserialize  # the oracle; it has no annotations


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def info(dtype: object, shape: object, offsets: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def whole(shape: tuple[int, ...]) -> Region:
    return tuple((0, size) for size in shape)


def random_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    dtype = np.dtype(dtype)
    array: NDArray[Any] = rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype)
    return array[..., 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BF16])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (3, 0, 2)])
def test_reads_what_the_official_library_wrote(
    tmp_path: Path, dtype: Any, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    # The odd-sized neighbour leaves the other tensor at an unaligned address.
    arrays = {"a": np.zeros(3, np.uint8), "b": random_bits(rng, shape, dtype)}
    save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "pt"})
    with SafetensorsFile.open(tmp_path / "x.safetensors") as file:
        assert set(file.tensors) == {"a", "b"}
        assert file.tensors["b"].shape == shape
        assert file.tensors["b"].nbytes == arrays["b"].nbytes
        got = file.read("b", whole(shape))
        assert got.dtype == dtype
        assert got.shape == shape
        assert got.flags.c_contiguous
        assert got.tobytes() == arrays["b"].tobytes()
        file.release("b")
        assert file.read("b", whole(shape)).tobytes() == arrays["b"].tobytes()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_regions_match_numpy(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 6), max_size=4)))
    dtype = data.draw(st.sampled_from([np.dtype(np.float32), np.dtype(np.float16), BF16]))
    array = random_bits(np.random.default_rng(data.draw(st.integers(0, 99))), shape, dtype)
    path = tmp_path_factory.getbasetemp() / "regions.safetensors"
    save_file({"x": array}, path)
    bounds = [st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in shape]
    region: Region = tuple((a, b) for a, b in data.draw(st.tuples(*bounds)))
    span = data.draw(st.sampled_from([4, 16, 64, 1 << 20]))
    with pytest.MonkeyPatch.context() as patch, SafetensorsFile.open(path) as file:
        patch.setattr(safetensors_file, "_SPAN", span)
        got = file.read("x", region)
    assert got.tobytes() == array[tuple(slice(a, b) for a, b in region)].tobytes()
    assert got.shape == tuple(b - a for a, b in region)


def test_wrong_use(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": np.zeros((2, 3), np.float32), "i": np.zeros(4, np.int64)}, path)
    file = SafetensorsFile.open(path)
    for region in [((0, 2),), ((0, 3), (0, 3)), ((1, 0), (0, 3)), ((-1, 2), (0, 3))]:
        with pytest.raises(ValueError, match="not inside"):
            file.read("x", region)
    with pytest.raises(CheckpointError, match="no tensor 'y'"):
        file.read("y", ())
    with pytest.raises(CheckpointError, match="'i' has dtype I64, expected one of F32, F16, BF16"):
        file.read("i", ((0, 4),))
    file.release("y")
    file.close()
    file.close()
    file.release("x")
    with pytest.raises(ValueError, match="closed"):
        file.read("x", ((0, 2), (0, 3)))


def test_close_while_a_view_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": np.zeros(4, np.float32)}, path)

    def fail(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(SafetensorsFile, "_copy", fail)
    with pytest.raises(MemoryError), SafetensorsFile.open(path) as file:
        file.read("x", ((0, 4),))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_shrinks_is_an_error_and_no_crash(tmp_path: Path, when: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": np.ones(100_000, np.float32)}, path)
    with SafetensorsFile.open(path) as file:
        if when == "after":
            file.read("x", ((0, 1),))
        os.truncate(path, 1000)
        with pytest.raises(CheckpointError, match="is 1000 bytes, was 400"):
            file.read("x", ((99_999, 100_000),))


SIX = b"\0" * 6
DAMAGED: list[tuple[bytes, str]] = [
    (b"", "holds 0 bytes, expected at least 8"),
    (b"\x02\0\0\0\0\0\0", "holds 7 bytes, expected at least 8"),
    (struct.pack("<Q", 2**63), "header claims 9223372036854775808 bytes, expected at most 0"),
    (struct.pack("<Q", 3) + b"{}", "header claims 3 bytes, expected at most 2"),
    (struct.pack("<Q", 200_000_000) + b"{}", "header claims 200000000 bytes"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    (raw(b""), "not valid JSON"),
    (raw(b"{'a': 1}"), "not valid JSON"),
    (raw(b'{"\xff": 1}'), "not UTF-8"),
    (raw(b"[]"), "header holds a list; expected a JSON object"),
    (raw(b"7"), "header holds a number"),
    (raw(b"null"), "header holds null"),
    (raw(b'{"a":' * 100_000), "nested too deeply"),
    (raw(b"[" * 100_000), "nested too deeply"),
    (raw(b'{"a": NaN}'), "not JSON"),
    (raw(b'{"a": ' + b"9" * 5000 + b"}"), "too many digits"),
    (raw(b'{"a":{"dtype":"U8"},"a":{}}'), "names 'a' twice"),
    (raw(b'{"a":{"dtype":"U8","dtype":"I8"}}'), "names 'dtype' twice"),
    (raw({"__metadata__": {"a": 1}}), "__metadata__"),
    (raw({"__metadata__": []}), "__metadata__"),
    (raw({"a": 3}), "tensor 'a' has description 3"),
    (raw({"a": {}}), "tensor 'a' has unknown dtype None"),
    (raw({"a": info("F7", [], [0, 0])}), "unknown dtype 'F7'"),
    (raw({"a": info(["F32"], [], [0, 0])}), "unknown dtype"),
    (raw({"a\nb": info("F7", [], [0, 0])}), r"tensor 'a\\nb'"),
    (raw({"a": info("U8", 6, [0, 6])}, SIX), "shape 6"),
    (raw({"a": info("U8", [-6], [0, 6])}, SIX), r"shape \[-6\]"),
    (raw({"a": info("U8", [6.0], [0, 6])}, SIX), r"shape \[6.0\]"),
    (raw({"a": info("U8", [6, True], [0, 6])}, SIX), r"shape \[6, True\]"),
    (raw({"a": info("U8", ["6"], [0, 6])}, SIX), r"shape \['6'\]"),
    (raw({"a": info("U8", [1] * 33, [0, 1])}, b"1"), "at most 32"),
    (raw({"a": info("F32", [2**40, 2**40], [0, 6])}, SIX), r"fewer than 2\*\*63 bits"),
    (raw({"a": info("F32", [2**40, 2**40, 0], [0, 0])}), r"fewer than 2\*\*63 bits"),
    (raw({"a": info("F32", [2**64], [0, 0])}), "non-negative integers"),
    (raw({"a": info("U8", [6], [0])}, SIX), "data_offsets"),
    (raw({"a": info("U8", [6], [0, 6, 6])}, SIX), "data_offsets"),
    (raw({"a": info("U8", [6], [6, 0])}, SIX), "data_offsets"),
    (raw({"a": info("U8", [6], [0, -6])}, SIX), "data_offsets"),
    (raw({"a": info("U8", [6], None)}, SIX), "data_offsets"),
    (raw({"a": info("F16", [6], [0, 6])}, SIX), "6 bytes of data, expected 6 elements of F16"),
    (raw({"a": info("F4", [3], [0, 1])}, b"1"), "1 bytes of data, expected 3 elements of F4"),
    (raw({"a": info("U8", [6], [0, 6])}, SIX[:5]), "truncated"),
    (raw({"a": info("U8", [6], [0, 6])}, SIX + b"1"), "data to end at byte"),
    (raw({}, b"1"), "with the header"),
    (raw({"a": info("U8", [5], [1, 6])}, SIX), "'a' begins .* leaves a hole after the header"),
    (
        raw({"a": info("U8", [2], [0, 2]), "b": info("U8", [3], [3, 6])}, SIX),
        "'b' .* leaves a hole after tensor 'a'",
    ),
    (
        raw({"a": info("U8", [4], [0, 4]), "b": info("U8", [3], [3, 6])}, SIX),
        "'b' .* overlaps tensor 'a'",
    ),
    (
        raw({"a": info("U8", [6], [0, 6]), "b": info("U8", [6], [0, 6])}, SIX),
        "'b' .* overlaps tensor 'a'",
    ),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_damage_is_named_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        SafetensorsFile.open(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_header_within_the_file_but_over_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 150_000_000))
    os.truncate(path, 200_000_000)
    with pytest.raises(CheckpointError, match="claims 150000000 bytes, expected at most 100000000"):
        SafetensorsFile.open(path)


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe"])
def test_not_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.safetensors"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        SafetensorsFile.open(path)


def test_every_dtype_of_the_format_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for dtype, bits in safetensors_file._BITS.items():
        content = raw({"x": info(dtype, [8], [0, bits])}, bytes(bits))
        deserialize(content)  # the oracle knows it too, and its size
        path.write_bytes(content)
        with SafetensorsFile.open(path) as file:
            assert file.tensors["x"].dtype == dtype


def same_as_official(content: bytes, path: Path) -> bool:
    """Whether the file opens; if so the official library must agree on every byte."""
    path.write_bytes(content)
    message = ""
    try:
        file = SafetensorsFile.open(path)
    except CheckpointError as error:
        message = str(error)
    if message:
        assert "\n" not in message
        return False
    official = dict(deserialize(content))
    assert set(official) == set(file.tensors)
    for name, entry in file.tensors.items():
        assert entry.dtype == official[name]["dtype"]
        assert list(entry.shape) == official[name]["shape"]
        stored = content[entry.offset : entry.offset + entry.nbytes]
        assert stored == bytes(official[name]["data"])
        if entry.dtype in safetensors_file.DTYPES:
            assert file.read(name, whole(entry.shape)).tobytes() == stored
    file.close()
    return True


GOOD = raw(
    {
        "__metadata__": {"format": "pt"},
        "w": info("F32", [2, 3], [0, 24]),
        "h": info("BF16", [5], [24, 34]),
        "e": info("F16", [0, 4], [34, 34]),
    },
    bytes(range(34)),
)


@settings(max_examples=600, derandomize=True, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=3),
    cut=st.one_of(st.none(), st.integers(0, len(GOOD))),
    tail=st.binary(max_size=3),
)
def test_flipped_bytes(
    edits: list[tuple[int, int]],
    cut: int | None,
    tail: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = bytearray(GOOD)
    for place, value in edits:
        content[place] = value
    damaged = bytes(content[:cut]) + tail
    same_as_official(damaged, tmp_path_factory.getbasetemp() / "flipped.safetensors")


ATOM = st.one_of(
    st.integers(-3, 40), st.sampled_from([2**31, 2**63, 2**64, 10**30]), st.floats(), st.text()
)
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), ATOM),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", "X"]) | ANY,
        "shape": st.lists(st.integers(0, 4), max_size=3) | ANY,
        "data_offsets": st.lists(st.integers(0, 16), min_size=2, max_size=2).map(sorted) | ANY,
    },
)


@settings(max_examples=600, derandomize=True, deadline=None)
@given(
    header=st.dictionaries(st.text(max_size=3), NEARLY | ANY, max_size=3) | ANY,
    data=st.binary(max_size=16),
)
def test_odd_headers(header: object, data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.safetensors"
    same_as_official(raw(header, data), path)


def test_the_fuzz_base_is_good(tmp_path: Path) -> None:
    assert same_as_official(GOOD, tmp_path / "good.safetensors")
