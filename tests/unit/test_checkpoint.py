"""Checkpoint folders: single files, shards, and everything that can be wrong with them."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from deltaport.errors import CheckpointError
from deltaport.exporter.checkpoint import Checkpoint

INDEX = "model.safetensors.index.json"
A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def arrays() -> dict[str, NDArray[Any]]:
    return {
        "x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "y": np.arange(4, dtype=np.float16),
        "z": np.array(7, np.float32),
    }


def write_shards(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write x and y in shard A, z in shard B; ``changes`` alter the index."""
    every = arrays()
    save_file({"x": every["x"], "y": every["y"]}, folder / A)
    save_file({"z": every["z"]}, folder / B)
    index = {"metadata": {"total_size": 36}, "weight_map": {"x": A, "y": A, "z": B}, **changes}
    (folder / INDEX).write_text(json.dumps(index))
    return index


def check(folder: Path) -> None:
    with Checkpoint.open(folder) as checkpoint:
        assert sorted(checkpoint.names()) == ["x", "y", "z"]
        assert checkpoint.total_bytes == 36
        for name, array in arrays().items():
            entry = checkpoint.entry(name)
            assert (entry.name, entry.shape, entry.nbytes) == (name, array.shape, array.nbytes)
            got = checkpoint.read(name, tuple((0, size) for size in array.shape))
            assert got.dtype == array.dtype
            np.testing.assert_array_equal(got, array, strict=True)
            checkpoint.release(name)
        np.testing.assert_array_equal(checkpoint.read("x", ((1, 2), (0, 2))), [[3, 4]])


def test_single_file(tmp_path: Path) -> None:
    save_file(arrays(), tmp_path / "model.safetensors")
    check(tmp_path)


def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    check(tmp_path)


def test_a_single_file_named_by_an_index(tmp_path: Path) -> None:
    save_file(arrays(), tmp_path / "model.safetensors")
    names = dict.fromkeys(arrays(), "model.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": names}))
    check(tmp_path)


def test_files_that_are_links_as_in_the_hub_cache(tmp_path: Path) -> None:
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    folder.mkdir()
    write_shards(blobs)
    for file in (A, B, INDEX):
        (folder / file).symlink_to(blobs / file)
    check(folder)


def test_unknown_names_and_use_after_close(tmp_path: Path) -> None:
    write_shards(tmp_path)
    checkpoint = Checkpoint.open(str(tmp_path))
    for call in (checkpoint.entry, checkpoint.release, lambda name: checkpoint.read(name, ())):
        with pytest.raises(CheckpointError, match="no tensor 'w'"):
            call("w")
    checkpoint.close()
    with pytest.raises(ValueError, match="closed"):
        checkpoint.read("z", ())


def fails(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        Checkpoint.open(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_no_folder_and_no_weights(tmp_path: Path) -> None:
    fails(tmp_path / "absent", "is not a folder")
    (tmp_path / "config.json").write_text("{}")
    fails(tmp_path / "config.json", "is not a folder")
    fails(tmp_path, "holds no weights, expected model.safetensors or model.safetensors.index.json")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pt", "consolidated.00.pth"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    fails(tmp_path, rf"{name}'.*never loaded.*save_pretrained\(safe_serialization=True\)")


def test_a_pickle_beside_safetensors_is_ignored(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    check(tmp_path)


def test_two_checkpoints_in_one_folder(tmp_path: Path) -> None:
    write_shards(tmp_path)
    save_file(arrays(), tmp_path / "model.safetensors")
    fails(tmp_path, "which does not list it; remove the one")


def test_missing_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / A).unlink()
    fails(tmp_path, f"shard {A} is missing, expected it to hold 2 tensors;")
    (tmp_path / B).unlink()
    fails(tmp_path, r"2 tensors \(2 shards are missing in all\)")


def test_index_and_shard_disagree(tmp_path: Path) -> None:
    write_shards(tmp_path, weight_map={"x": A, "y": A, "v": A, "z": B})
    fails(tmp_path, f"{A}: lacks tensor 'v', expected by {INDEX}")
    write_shards(tmp_path, weight_map={"x": A, "y": B, "z": B})
    fails(tmp_path, f"{A}: holds tensor 'y' left over")
    write_shards(tmp_path, weight_map={"z": B, "v": B, "u": B})
    fails(tmp_path, f"{B}: lacks tensor 'v' and 1 more")


def test_the_same_tensor_in_two_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    save_file({"x": np.zeros(1, np.float32), "z": np.zeros(1, np.float32)}, tmp_path / B)
    fails(tmp_path, f"{B}: holds tensor 'x' left over")


def test_a_truncated_shard_is_found_at_open(tmp_path: Path) -> None:
    write_shards(tmp_path)
    content = (tmp_path / B).read_bytes()
    (tmp_path / B).write_bytes(content[:-1])
    fails(tmp_path, f"{B}: .*truncated")


@pytest.mark.parametrize(
    "shard",
    [
        *("/etc/passwd.safetensors", "../x.safetensors", "..", "sub/x.safetensors", ""),
        *("sub\\x.safetensors", "C:x.safetensors", "a\nb.safetensors", "a\0.safetensors"),
        *("x" * 300 + ".safetensors", "model.bin", "\ud800.safetensors"),
        *(None, 3, ["model.safetensors"], {}),
    ],
)
def test_shard_names_stay_in_the_folder(tmp_path: Path, shard: object) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    save_file(arrays(), tmp_path / "x.safetensors")
    write_shards(folder, weight_map={"x": shard})
    fails(folder, r"tensor 'x' is in .*expected the plain name of a \.safetensors file")


@pytest.mark.parametrize("weight_map", [None, {}, [], "x", 1])
def test_weight_map_of_another_kind(tmp_path: Path, weight_map: object) -> None:
    write_shards(tmp_path, weight_map=weight_map)
    fails(tmp_path, "weight_map is .*expected shard names by tensor")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "index is not valid JSON"),
        (b"\xff\xfe", "index is not UTF-8"),
        (b"[]", "index holds a list"),
        (b"{}", "weight_map is None"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}', "names 'x' twice"),
    ],
)
def test_index_is_damaged(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / INDEX).write_bytes(content)
    fails(tmp_path, message)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(place=st.integers(0, 200), value=st.integers(0, 255), cut=st.booleans())
def test_fuzzed_index_ends_in_success_or_one_line(
    place: int, value: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    write_shards(folder)
    content = bytearray((folder / INDEX).read_bytes())
    place %= len(content)
    content[place] = value
    (folder / INDEX).write_bytes(content[:place] if cut else content)
    message = ""
    try:
        Checkpoint.open(folder).close()
    except CheckpointError as error:
        message = str(error)
    assert "\n" not in message
