"""A sequence set aside in a file goes on exactly as it would have, or not at all."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deltaport.errors import InputError, OutputError
from deltaport.runtime import Engine, Snapshot
from tests.fuzz.file_mutations import mutate_safetensors
from tests.greedy import greedy
from tests.runtime.toy_engine import toy_tokens, write_toy

PROMPT = [3, 1, 4, 1, 5]


@pytest.fixture
def saved(engine: Engine, tmp_path: Path) -> Path:
    session = engine.session()
    session.prefill([PROMPT])
    path = tmp_path / "sequence.safetensors"
    session.snapshot(0).save(path)
    return path


def test_going_on_from_a_file(engine: Engine, saved: Path, tmp_path: Path) -> None:
    for opened in (engine, Engine.open(write_toy(tmp_path / "same"))):
        session = opened.session(2)
        session.prefill([[7], None])
        session.restore(1, Snapshot.load(saved, opened))
        assert greedy(session, new=4, stop=()) == [
            toy_tokens([7], 4, ()),
            toy_tokens(PROMPT, 4, ()),
        ]


@pytest.mark.parametrize("tokens", [[], [1], [1] * 9])
def test_every_field_comes_back(engine: Engine, tmp_path: Path, tokens: list[int]) -> None:
    session = engine.session()
    session.prefill([tokens])
    session.native.extend(0, 5)  # a token the state has not seen: no logits
    for _ in range(2):
        snapshot = session.snapshot(0)
        snapshot.save(tmp_path / "file")
        back = Snapshot.load(tmp_path / "file", engine)
        assert (back.tokens, back.length) == (snapshot.tokens, snapshot.length)
        assert (back.logits is None) == (snapshot.logits is None)
        assert back.logits is None or (back.logits == snapshot.logits).all()
        assert back.state.keys() == snapshot.state.keys()
        assert all((back.state[name] == snapshot.state[name]).all() for name in back.state)
        session.prefill([[2]])


def test_damage_is_noticed_or_does_not_matter(engine: Engine, saved: Path) -> None:
    whole, data = Snapshot.load(saved, engine), saved.read_bytes()
    outcomes = set()
    for seed in range(300):
        saved.write_bytes(mutate_safetensors(Random(seed), data))
        try:
            found = Snapshot.load(saved, engine)
        except InputError as error:
            message = str(error)
            assert message.startswith(str(saved)), seed
            assert message.isprintable(), seed
            assert len(message) < 600 + len(str(saved)), seed
            outcomes.add("refused")
            continue
        assert found.tokens == whole.tokens, seed
        assert all((found.state[name] == whole.state[name]).all() for name in whole.state), seed
        outcomes.add("read")
    assert "refused" in outcomes


@pytest.mark.parametrize("position", range(0, 100, 7))
def test_a_bit_of_the_state_is_noticed(engine: Engine, saved: Path, position: int) -> None:
    data = bytearray(saved.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + position % (len(data) - start)] ^= 1 << position % 8
    saved.write_bytes(data)
    with pytest.raises(InputError, match="checksum differs"):
        Snapshot.load(saved, engine)


def rewrite(path: Path, header: dict[str, str], tensors: dict[str, Any]) -> None:
    """Write what somebody might who computes the checksum too."""
    length = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    del metadata["sha256"]
    metadata |= header
    arrays = load_file(path) | tensors
    arrays = {name: array for name, array in arrays.items() if array is not None}
    save_file(arrays, path, metadata | {"sha256": checksum(metadata, arrays)})


DTYPES = {"int64": "I64", "int32": "I32", "float32": "F32", "float64": "F64"}


def checksum(metadata: dict[str, str], arrays: dict[str, Any]) -> str:
    digest = sha256("".join(f"{key}={metadata[key]}\n" for key in sorted(metadata)).encode())
    for name, array in sorted(arrays.items()):
        shape = ",".join(map(str, array.shape))
        digest.update(f"{name} {DTYPES[array.dtype.name]} {shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def test_other_readers_see_what_is_there(engine: Engine, saved: Path) -> None:
    snapshot, arrays = Snapshot.load(saved, engine), load_file(saved)
    assert arrays.keys() == {"tokens", "logits", "state.past.0.key", "state.past.1.recurrent"}
    assert arrays["tokens"].tolist() == list(snapshot.tokens)
    for name, array in snapshot.state.items():
        np.testing.assert_array_equal(arrays["state." + name], array)
    rewrite(saved, {}, {})  # as they would write it
    assert Snapshot.load(saved, engine).tokens == snapshot.tokens


FORGED: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "length": ({"length": "6"}, {}, "has seen '6' of 5 tokens"),
    "no number": ({"length": "-1"}, {}, "has seen '-1' of 5 tokens"),
    "no tokens": ({}, {"tokens": None}, "tokens are missing"),
    "tokens of another type": ({}, {"tokens": np.zeros(5, np.int32)}, "no list of int64"),
    "a token too large": ({}, {"tokens": np.full(5, 1 << 40)}, "beyond the vocabulary"),
    "a negative token": ({}, {"tokens": np.full(5, -1)}, "beyond the vocabulary"),
    "too many tokens": ({}, {"tokens": np.ones(1 << 20, np.int64)}, "of 1048576 tokens"),
    "no state": ({}, {"state.past.1.recurrent": None}, "'state.past.1.recurrent' is missing"),
    "another tensor": ({}, {"more": np.zeros(1)}, "'more' is not part of a snapshot"),
    "a shape": (
        {},
        {"state.past.0.key": np.zeros((1, 4, 1), np.float32)},
        r"'F32' \[1, 4, 1\], expected 'F32' \[1, 5, 1\]",
    ),
    "a type": ({}, {"logits": np.zeros(3, np.float64)}, "'logits' is 'F64'"),
    "logits of a token not seen": ({"length": "4"}, {}, "has logits, though the state has seen 4"),
    "far too many dimensions": ({}, {"logits": np.zeros([0] * 30, np.float32)}, "no short list"),
    "the format": ({"format": "deltaport-snapshot-9"}, {}, "expected deltaport-snapshot-1"),
}


@pytest.mark.parametrize(("header", "tensors", "message"), FORGED.values(), ids=FORGED)
def test_a_checksum_is_not_believed(
    engine: Engine, saved: Path, header: dict[str, str], tensors: dict[str, Any], message: str
) -> None:
    rewrite(saved, header, tensors)
    with pytest.raises(InputError, match=message):
        Snapshot.load(saved, engine)


def test_another_engine(saved: Path, tmp_path: Path) -> None:
    other = Engine.open(write_toy(tmp_path / "other", model={"another": 1}))
    with pytest.raises(InputError, match="taken with another engine"):
        Snapshot.load(saved, other)


def test_no_file(engine: Engine, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="no such snapshot"):
            Snapshot.load(path, engine)


def test_what_cannot_be_written_leaves_all_as_it_was(
    engine: Engine, saved: Path, tmp_path: Path
) -> None:
    snapshot, data = Snapshot.load(saved, engine), saved.read_bytes()
    with pytest.raises(OutputError, match=r"nowhere.*: cannot be written: No such file"):
        snapshot.save(tmp_path / "nowhere" / "file")
    with pytest.raises(OutputError, match=r"cannot be written: "):
        snapshot.save(engine.folder)
    script = (
        "import resource, signal, sys\n"
        "from deltaport.runtime import Engine, Snapshot\n"
        "snapshot = Snapshot.load(sys.argv[2], Engine.open(sys.argv[1]))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "snapshot.save(sys.argv[2])\n"
    )
    arguments = [sys.executable, "-c", script, engine.folder, saved]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert "OutputError" in run.stderr, run.stderr
    assert "File too large" in run.stderr, run.stderr
    assert saved.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [saved.name]


def test_what_was_said_is_for_its_owner_alone(saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
