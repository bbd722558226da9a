"""Exports that end early: by a signal, a full disk, or kill -9."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from deltaport.exporter.atomic_folder import AtomicFolder
from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.write_journal import JOURNAL_NAME
from tests.end_to_end.command import COMMAND, deltaport, error_line, in_process, listing


@pytest.fixture(scope="module")
def large(single_layer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that takes seconds to write: zeros, in a sparse file that takes no space."""
    folder = tmp_path_factory.mktemp("large")
    config = json.loads((single_layer / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 1_000_000}))
    header, end = {}, 0
    for name, shape in parameter_shapes(ModelSpec.from_checkpoint(folder)).items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(file.tell() + end)
    return folder


@pytest.fixture
def old(engine: Path, tmp_path: Path) -> Path:
    """An engine in the place where the next is to go."""
    return Path(shutil.copytree(engine, tmp_path / "engine"))


class Ended(NamedTuple):
    status: int
    stdout: bytes
    stderr: bytes


def interrupt(checkpoint: Path, output: Path, number: signal.Signals) -> Ended:
    """Start an export and send it a signal while it writes weights."""
    arguments = ["export", str(checkpoint), "-o", str(output), "--dtype", "float32"]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--quiet", "--overwrite"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 120
        while not half_made(output):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    return Ended(process.returncode, stdout, stderr)


def half_made(output: Path) -> bool:
    """Whether an unfinished export of ``output`` has begun to write weights."""
    weights = output.parent / f".{output.name}.partial" / "decoder.onnx.data"
    return weights.is_file() and weights.stat().st_size > 0


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def export_in_process(
    checkpoint: Path, output: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """An export that need not load torch again."""
    return in_process("export", checkpoint, "-o", output, "--quiet", *options)


def is_usable(engine: Path) -> bool:
    return deltaport("run", engine, "--ids", "1,2", "-n", "2", "--quiet").returncode == 0


def test_ctrl_c_leaves_the_old_engine(large: Path, old: Path, tmp_path: Path) -> None:
    before = listing(old)
    assert interrupt(large, old, signal.SIGINT) == (130, b"", b"interrupted\n")
    assert names_in(tmp_path) == ["engine"]
    assert listing(old) == before
    assert is_usable(old)


def test_sigterm_leaves_nothing(large: Path, tmp_path: Path) -> None:
    ended = interrupt(large, tmp_path / "engine", signal.SIGTERM)
    assert ended == (143, b"", b"interrupted\n")
    assert names_in(tmp_path) == []


def test_the_next_export_cleans_up_after_kill_9(
    large: Path, single_layer: Path, old: Path, tmp_path: Path
) -> None:
    before = listing(old)
    assert interrupt(large, old, signal.SIGKILL).status == -signal.SIGKILL
    assert half_made(old)
    assert listing(old) == before
    assert is_usable(old)

    result = export_in_process(single_layer, old, "--overwrite")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert names_in(tmp_path) == ["engine"]
    assert listing(old).keys() < before.keys() | {"tokenizer.json"}
    assert is_usable(old)


QUANTIZING = """
import sys
from deltaport.cli import main
from deltaport.exporter import write_weights
write_weights.NOTED_EVERY = 1 << 20
main(["export", sys.argv[1], "-o", sys.argv[2], "--quantize", "int4", "--quiet"])
"""


def test_an_export_that_was_killed_is_gone_on_with(large: Path, tmp_path: Path) -> None:
    """And gives the same bytes as one that was not."""
    output, journal = tmp_path / "engine", tmp_path / ".engine.partial" / JOURNAL_NAME
    command = [sys.executable, "-c", QUANTIZING, str(large), str(output)]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 120
        while not journal.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
    before = json.loads(journal.read_text())
    assert before["weights"] > 0
    weights = journal.with_name("decoder.onnx.data")
    inode = weights.stat().st_ino
    export_in_process(large, tmp_path / "whole", "--quantize", "int4")
    assert export_in_process(large, output, "--quantize", "int4").returncode == 0
    assert names_in(tmp_path) == ["engine", "whole"]
    assert (output / "decoder.onnx.data").stat().st_ino == inode
    assert listing(output) == listing(tmp_path / "whole")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (RuntimeError("a bug"), 1)]
)
def test_an_end_while_tracing_leaves_nothing(
    single_layer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
) -> None:
    def ending(*_: object) -> None:
        assert names_in(tmp_path / "new") == [".engine.lock", ".engine.partial"]
        raise error

    monkeypatch.setattr("deltaport.exporter.trace.trace", ending)
    assert export_in_process(single_layer, tmp_path / "new" / "engine").returncode == status
    assert names_in(tmp_path) == []


def test_what_is_wrong_with_the_output_is_found_before_tracing(
    single_layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tracing(*_: object) -> None:
        raise AssertionError("traced")

    monkeypatch.setattr("deltaport.exporter.trace.trace", tracing)
    output = tmp_path / "engine"
    with AtomicFolder(output):
        assert "another export is writing" in export_in_process(single_layer, output).stderr
    assert "cannot write" in export_in_process(single_layer, Path("/proc/engine")).stderr
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert "the disk has" in export_in_process(single_layer, output).stderr
    assert names_in(tmp_path) == []


def test_a_file_system_that_takes_no_more(single_layer: Path, tmp_path: Path) -> None:
    limited = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'deltaport', *sys.argv[1:]])"
    )
    result = deltaport(
        *("export", single_layer, "-o", tmp_path / "engine", "--quiet"),
        command=[sys.executable, "-c", limited],
    )
    line = error_line(result)
    assert "engine: cannot write the engine: File too large; free some space" in line
    assert names_in(tmp_path) == []


class TestFullDisk:
    """In this process, where a disk can be made to look full."""

    def refuse(self, checkpoint: Path, output: Path, *options: str) -> str:
        result = export_in_process(checkpoint, output, *options)
        return error_line(result)

    def test_known_before_the_first_byte(
        self, single_layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        line = self.refuse(single_layer, tmp_path / "engine")
        assert "the engine needs 0.00 GB, the disk has 0.00 GB free" in line
        assert names_in(tmp_path) == []

    def test_found_while_writing(
        self, single_layer: Path, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        before = listing(old)
        monkeypatch.setattr(os, "fsync", full)
        line = self.refuse(single_layer, old, "--overwrite")
        assert "No space left on device; free some space" in line
        assert names_in(tmp_path) == ["engine"]
        assert listing(old) == before
