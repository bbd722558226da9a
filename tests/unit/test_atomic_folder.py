"""An engine folder appears whole or not at all, whatever happens to its writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deltaport.errors import OutputError
from deltaport.exporter.atomic_folder import AtomicFolder
from deltaport.package import MANIFEST_NAME

WRITER = """
import os, signal, sys
from deltaport.exporter.atomic_folder import AtomicFolder
with AtomicFolder(sys.argv[1], overwrite=True) as folder:
    (folder.path / "manifest.json").write_text("by another process")
    if sys.argv[2] == "between the renames":
        from pathlib import Path
        rename = Path.rename
        def renaming(self, target):
            if self == folder.path:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(self, target)
        Path.rename = renaming
        folder.commit()
    if sys.argv[2] == "before cleaning up":
        import shutil
        shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        folder.commit()
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def writer(target: Path, how: str = "waits") -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of writing ``target``."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == ("ready\n" if how == "waits" else "")
            yield process
        finally:
            process.kill()
            process.wait(timeout=30)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 hidden names included, as strings


def write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with AtomicFolder(target, overwrite=overwrite) as folder:
        (folder.path / MANIFEST_NAME).write_text(text)
        folder.commit()


def fail(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with AtomicFolder(target, overwrite=overwrite) as folder:
        (folder.path / MANIFEST_NAME).write_text("unfinished")
        raise error


def text_of(target: Path) -> str:
    return (target / MANIFEST_NAME).read_text()


def test_nothing_is_at_the_target_before_the_commit(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "engine"
    with AtomicFolder(target) as folder:
        (folder.path / MANIFEST_NAME).write_text("new")
        assert not target.exists()
        folder.commit()
        assert names(target) == [MANIFEST_NAME]
    assert text_of(target) == "new"
    assert names(target.parent) == ["engine"]


def test_leaving_without_a_commit_leaves_nothing(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "engine") as folder:
        (folder.path / "big").write_text("data")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "error", [ValueError, KeyboardInterrupt, SystemExit, OutputError, BrokenPipeError]
)
def test_an_exception_removes_the_folder_and_goes_on(
    tmp_path: Path, error: type[BaseException]
) -> None:
    write(tmp_path / "engine", "old")
    with pytest.raises(error, match="stop"):
        fail(tmp_path / "engine", error("stop"), overwrite=True)
    assert names(tmp_path) == ["engine"]
    assert text_of(tmp_path / "engine") == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_an_output_error(tmp_path: Path, code: int) -> None:
    with pytest.raises(OutputError, match=r"engine: cannot write .* free some space"):
        fail(tmp_path / "engine", OSError(code, os.strerror(code)))
    assert names(tmp_path) == []


def test_a_disk_that_breaks_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"engine: cannot write the engine: broken$"):
        fail(tmp_path / "engine", OSError(errno.EIO, "broken"))
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write the engine"):
        AtomicFolder(tmp_path / "file" / "engine").__enter__()


def test_an_existing_engine_is_refused_early_and_late(tmp_path: Path) -> None:
    write(tmp_path / "engine", "old")
    with pytest.raises(OutputError, match=r"already exists.*--overwrite"):
        AtomicFolder(tmp_path / "engine").check()
    with pytest.raises(OutputError, match="already exists"):
        write(tmp_path / "engine", "new")
    assert text_of(tmp_path / "engine") == "old"
    assert names(tmp_path) == ["engine"]


def test_an_engine_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "engine") as folder:
        (tmp_path / "engine").mkdir()
        (tmp_path / "engine" / MANIFEST_NAME).write_text("theirs")
        with pytest.raises(OutputError, match="already exists"):
            folder.commit()
    assert text_of(tmp_path / "engine") == "theirs"
    assert names(tmp_path) == ["engine"]


def test_overwriting_replaces_all_of_it(tmp_path: Path) -> None:
    write(tmp_path / "engine", "old")
    (tmp_path / "engine" / "stale").touch()
    AtomicFolder(tmp_path / "engine", overwrite=True).check()
    write(tmp_path / "engine", "new", overwrite=True)
    assert text_of(tmp_path / "engine") == "new"
    assert names(tmp_path / "engine") == [MANIFEST_NAME]
    assert names(tmp_path) == ["engine"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_empty_folder_is_filled(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "engine").mkdir()
    write(tmp_path / "engine", "new", overwrite=overwrite)
    assert text_of(tmp_path / "engine") == "new"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_an_engine_is_never_removed(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("home", "file"):
        folder = AtomicFolder(tmp_path / name, overwrite=overwrite)
        with pytest.raises(OutputError, match=r"not a folder|not an engine|already exists"):
            folder.check()
        with pytest.raises(OutputError, match=r"not a folder|not an engine|already exists"):
            write(tmp_path / name, "new", overwrite=overwrite)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "precious"
    assert names(tmp_path) == ["file", "home"]


def test_a_link_stays_a_link_however_often_it_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "engine")
    for text in ("first", "second", "third"):
        write(tmp_path / "link", text, overwrite=True)
        assert text_of(tmp_path / "disk" / "engine") == text
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["disk", "link"]
    assert names(tmp_path / "disk") == ["engine"]


def test_a_killed_writer_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    with writer(target) as process:
        (partial,) = names(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert names(tmp_path) == [partial]
    write(target, "new")
    assert names(tmp_path) == ["engine"]
    assert text_of(target) == "new"


def test_a_writer_killed_before_it_took_its_lock_is_cleaned_up(tmp_path: Path) -> None:
    (tmp_path / ".engine.123.partial").mkdir()
    write(tmp_path / "engine", "new")
    assert names(tmp_path) == ["engine"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    with writer(target) as process:
        (partial,) = names(tmp_path)
        write(target, "mine")
        assert names(tmp_path) == [partial, "engine"]
        assert (tmp_path / partial / MANIFEST_NAME).read_text() == "by another process"
        assert process.poll() is None
    assert text_of(target) == "mine"


def test_two_writers_in_one_process_do_not_mix(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "engine") as folder:
        (folder.path / MANIFEST_NAME).write_text("first")
        with pytest.raises(OutputError):
            write(tmp_path / "engine", "second")
        folder.commit()
    assert text_of(tmp_path / "engine") == "first"
    assert names(tmp_path) == ["engine"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_crash_between_the_renames_is_undone(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    with writer(target, "between the renames"):
        assert not target.exists()
    if overwrite:
        with pytest.raises(ValueError, match="stop"):
            fail(target, ValueError("stop"), overwrite=True)
    else:
        with pytest.raises(OutputError, match="already exists"):
            write(target, "new")
    assert text_of(target) == "old"
    assert names(tmp_path) == ["engine"]


def test_a_crash_after_the_renames_keeps_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    with writer(target, "before cleaning up"):
        assert text_of(target) == "by another process"
    with pytest.raises(OutputError, match="already exists"):
        write(target, "newest")
    assert text_of(target) == "by another process"
    assert names(tmp_path) == ["engine"]


@pytest.mark.parametrize(
    ("error", "seen"),
    [(OSError(errno.EIO, "stop"), OutputError), (KeyboardInterrupt("stop"), KeyboardInterrupt)],
)
def test_a_second_rename_cut_short_puts_the_old_one_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    seen: type[BaseException],
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name.endswith(".partial"):
            raise error
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(seen, match="stop"):
        write(target, "new", overwrite=True)
    assert text_of(target) == "old"
    assert names(tmp_path) == ["engine"]


@pytest.mark.parametrize("name", ["a*", "a?", "[ab]", "a[!b]c", "]a[", "**", "a b", "-a", "ключ"])
def test_names_are_taken_literally(tmp_path: Path, name: str) -> None:
    # Folders that the name would match as a pattern belong to other engines.
    others = [f".{other}.1.partial" for other in ("ab", "aXc", "a", "b", "a*x")]
    for other in others:
        (tmp_path / other).mkdir()
    (tmp_path / f".{name}.1.partial").mkdir()
    write(tmp_path / name, "new")
    assert names(tmp_path) == sorted([*others, name])
    assert text_of(tmp_path / name) == "new"
