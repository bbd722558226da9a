"""The file of weights: the same bytes however often its writer was cut off."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from deltaport.exporter import write_weights as module
from deltaport.exporter.write_journal import JOURNAL_NAME
from deltaport.exporter.write_weights import WEIGHTS_NAME, write_weights
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.recipes.region import Region
from deltaport.graph_passes.recipes.row_recipes import RowCodes, RowScales
from deltaport.package import FileEntry
from tests.passes.graph_text import parse_graph

ROWS = 50
NAMES = ("a", "b", "c", "d")


class Counting:
    """A source that counts what is read of each tensor."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.arrays = {name: rng.standard_normal((ROWS, 64)).astype(np.float32) for name in NAMES}
        self.read_of: list[str] = []

    def read(self, name: str, region: Region) -> NDArray[Any]:
        self.read_of.append(name)
        return self.arrays[name][tuple(slice(*bounds) for bounds in region)].copy()

    def release(self, name: str) -> None:
        """Nothing to give back."""


def weights() -> dict[str, Recipe]:
    source = {name: Source(name, (ROWS, 64), np.dtype(np.float32)) for name in NAMES}
    return {
        "a": source["a"],
        "b.codes": Codes(source["b"], 4, 32, 1),
        "b.scales": Scales(source["b"], 4, 32, 1),
        "c": Cast(source["c"], np.dtype(np.float16)),
        "d": source["d"],
    }


def row_weights() -> dict[str, Recipe]:
    """The same with codes and scales row by row, two codes to a byte."""
    stored = weights()
    rows = {"b.codes": RowCodes(stored["b.codes"]), "b.scales": RowScales(stored["b.scales"])}
    return stored | rows


def graph_of(recipes: dict[str, Recipe]) -> ir.Graph:
    dtypes = {
        "float32": "float",
        "uint8": "uint8",
        "bfloat16": "bfloat16",
        "float16": "float16",
        "int4": "int4",
    }
    inputs = ", ".join(
        f"{dtypes[recipe.dtype.name]}[{','.join(map(str, recipe.shape))}] w{i}"
        for i, recipe in enumerate(recipes.values())
    )
    model = parse_graph(
        f"g ({inputs}) => (float[1] y) {{ y = Identity(w0) }}",
        {f"w{i}": recipe for i, recipe in enumerate(recipes.values())},
    )
    return model.graph


@pytest.fixture(autouse=True)
def note_every_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOTED_EVERY", 1)


class Killed(BaseException):
    """As sudden as a signal, for who looks at the disk afterwards."""


def write(folder: Path, *, until: int | None = None, **changes: Any) -> tuple[FileEntry, Counting]:
    """Write all weights, or some bytes of them."""
    source, done = Counting(), 0

    def progress(size: int) -> None:
        nonlocal done
        done += size
        if until is not None and done > until:
            raise Killed

    folder.mkdir(exist_ok=True)
    recipes = changes.get("recipes", weights())
    shards = sorted(folder.parent.glob("*.safetensors"))
    return write_weights(folder, graph_of(recipes), shards, source, progress), source


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def whole(tmp_path: Path) -> tuple[FileEntry, bytes]:
    """The weights written at one go."""
    entry, source = write(tmp_path / "whole")
    data = (tmp_path / "whole" / WEIGHTS_NAME).read_bytes()
    assert (entry.size, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert data[: ROWS * 256] == source.arrays["a"].tobytes()
    assert names_in(tmp_path / "whole") == [WEIGHTS_NAME]
    return entry, data


def cut_off(folder: Path, until: int) -> None:
    with pytest.raises(Killed):
        write(folder, until=until)


@pytest.mark.parametrize(
    ("until", "read_again"),
    [
        (0, "abcd"),
        (ROWS * 256, "bcd"),  # within the codes of b
        (ROWS * 256 + 2048, "bcd"),  # after the codes, within its scales: quantized again
        (ROWS * 256 + 2500, "cd"),
        (ROWS * 512 + 3000, "d"),
    ],
)
def test_it_goes_on_with_the_next_weight(
    until: int, read_again: str, whole: tuple[FileEntry, bytes], tmp_path: Path
) -> None:
    cut_off(tmp_path / "cut", until)
    assert (tmp_path / "cut" / JOURNAL_NAME).exists() == (until > 0)
    entry, source = write(tmp_path / "cut")
    assert entry == whole[0]
    assert (tmp_path / "cut" / WEIGHTS_NAME).read_bytes() == whole[1]
    assert sorted(set(source.read_of)) == list(read_again)
    assert names_in(tmp_path / "cut") == [WEIGHTS_NAME]


def test_it_is_cut_off_time_and_again(whole: tuple[FileEntry, bytes], tmp_path: Path) -> None:
    for until in range(1000, ROWS * 700, 5000):
        cut_off(tmp_path / "cut", until)
    assert write(tmp_path / "cut")[0] == whole[0]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / JOURNAL_NAME).read_text()
    assert old in text
    (folder / JOURNAL_NAME).write_text(text.replace(old, new))


def link(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / "elsewhere"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda folder: flip(folder / WEIGHTS_NAME, 77),
    "too few bytes": lambda folder: os.truncate(folder / WEIGHTS_NAME, 5000),
    "no bytes": lambda folder: (folder / WEIGHTS_NAME).write_bytes(b""),
    "a journal that is none": lambda folder: (folder / JOURNAL_NAME).write_text("[1]"),
    "a journal of nothing": lambda folder: (folder / JOURNAL_NAME).write_bytes(b"\xff"),
    "a link to a file": lambda folder: link(folder / WEIGHTS_NAME),
    "no weights": lambda folder: (folder / WEIGHTS_NAME).unlink(),
    "fewer bytes than none": lambda folder: rewrite(folder, '"bytes": ', '"bytes": -'),
    "more weights than are in it": lambda folder: rewrite(folder, '"weights": 3', '"weights": 4'),
    "more weights than there are": lambda folder: rewrite(folder, '"weights": 3', '"weights": 9'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_as_noted_is_written_anew(
    damage: Callable[[Path], object], whole: tuple[FileEntry, bytes], tmp_path: Path
) -> None:
    cut_off(tmp_path / "cut", ROWS * 256 + 2500)
    damage(tmp_path / "cut")
    entry, source = write(tmp_path / "cut")
    assert entry == whole[0]
    assert (tmp_path / "cut" / WEIGHTS_NAME).read_bytes() == whole[1]
    assert sorted(set(source.read_of)) == list(NAMES)


def test_what_is_there_besides_goes(whole: tuple[FileEntry, bytes], tmp_path: Path) -> None:
    cut_off(tmp_path / "cut", ROWS * 256 + 2500)
    (tmp_path / "cut" / "folder").mkdir()
    (tmp_path / "cut" / "folder" / "file").write_text("")
    (tmp_path / "cut" / "manifest.json").write_text("")
    entry, source = write(tmp_path / "cut")
    assert entry == whole[0]
    assert sorted(set(source.read_of)) == ["c", "d"]
    assert names_in(tmp_path / "cut") == [WEIGHTS_NAME]


def test_other_weights_are_another_export(tmp_path: Path) -> None:
    cut_off(tmp_path / "cut", ROWS * 256 + 2500)
    other = weights() | {"d": Cast(weights()["d"], np.dtype(np.float16))}
    entry, source = write(tmp_path / "cut", recipes=other)
    assert sorted(set(source.read_of)) == list(NAMES)
    assert entry == write(tmp_path / "plain", recipes=other)[0]


@pytest.mark.parametrize("text", ["three", "two"])
def test_a_checkpoint_that_changed_is_another_one(tmp_path: Path, text: str) -> None:
    """Even if size and date are those it had."""
    shard = tmp_path / "model.safetensors"
    shard.write_text("one")
    before = shard.stat()
    cut_off(tmp_path / "cut", ROWS * 256 + 2500)
    shard.write_text(text)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sorted(set(write(tmp_path / "cut")[1].read_of)) == list(NAMES)


def test_a_weight_is_quantized_once(tmp_path: Path) -> None:
    source = write(tmp_path / "whole")[1]
    assert source.read_of.count("b") == 1


@pytest.mark.parametrize("until", [0, ROWS * 256, ROWS * 256 + ROWS * 32, ROWS * 388])
def test_codes_of_half_a_byte_go_on_as_well(until: int, tmp_path: Path) -> None:
    """Within the weight before the codes, within these, within their scales, and after."""
    entry, _ = write(tmp_path / "whole", recipes=row_weights())
    with pytest.raises(Killed):
        write(tmp_path / "cut", until=until, recipes=row_weights())
    again, _ = write(tmp_path / "cut", recipes=row_weights())
    assert again == entry
    data = (tmp_path / "whole" / WEIGHTS_NAME).read_bytes()
    assert (tmp_path / "cut" / WEIGHTS_NAME).read_bytes() == data
    source = Counting()
    codes = b"".join(evaluate(row_weights()["b.codes"], source))
    assert len(codes) == ROWS * 32
    assert codes in data
