"""An engine folder appears whole or not at all, whatever happens to its writer."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deltaport.errors import OutputError
from deltaport.exporter.atomic_folder import AtomicFolder
from deltaport.package import MANIFEST_NAME

# The stages at which a writer that replaces an engine can be killed.
STAGES = {
    "creating the lock": ("fcntl", "flock", 1, "before"),
    "locking": ("fcntl", "flock", 1, "after"),
    "making the folder": ("Path", "mkdir", 1, "after"),
    "syncing": ("os", "fsync", 1, "before"),
    "moving the old engine": ("Path", "rename", 2, "after"),
    "moving the new engine": ("Path", "rename", 3, "after"),
    "syncing the parent": ("os", "fsync", 2, "after"),
    "before removing the old engine": ("shutil", "rmtree", 1, "before"),
    "after removing the old engine": ("shutil", "rmtree", 1, "after"),
    "before removing the lock": ("Path", "unlink", 1, "before"),
    "after removing the lock": ("Path", "unlink", 1, "after"),
}
COMMITTED = list(STAGES)[5:]

WRITER = """
import fcntl, os, shutil, signal, sys
from pathlib import Path
from deltaport.exporter.atomic_folder import AtomicFolder

def cut_short(owner, name, count, when):
    function = getattr(owner, name)
    calls = 0
    def counting(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return function(*args, **kwargs)
        finally:
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, counting)

if len(sys.argv) > 2:
    owner, name, count, when = sys.argv[2:]
    cut_short(globals()[owner], name, int(count), when)
with AtomicFolder(sys.argv[1], objection=lambda _: None) as folder:
    (folder.path / "manifest.json").write_text("by another process")
    (folder.path / "weights").write_text("by another process")
    if len(sys.argv) > 2:
        folder.commit()
    else:
        print("ready", flush=True)
        sys.stdin.read()
"""


@contextmanager
def writer(target: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of writing ``target``."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            process.wait(timeout=30)


def kill_writer(target: Path, stage: str) -> None:
    """Have another process overwrite ``target`` and be killed on the way."""
    command = [sys.executable, "-c", WRITER, str(target), *map(str, STAGES[stage])]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL


def unless_engine(folder: Path) -> str | None:
    """What an exporter's objection is, in short."""
    return None if (folder / MANIFEST_NAME).is_file() else "is not an engine"


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 hidden names included, as strings


def write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with AtomicFolder(target, objection=unless_engine if overwrite else None) as folder:
        (folder.path / MANIFEST_NAME).write_text(text)
        folder.commit()


def fail(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with AtomicFolder(target, objection=unless_engine if overwrite else None) as folder:
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
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with pytest.raises(OutputError) as caught:
            AtomicFolder(tmp_path / name / "a" / "engine").__enter__()
        assert str(caught.value) == (
            f"{tmp_path / name}: exists and is not a folder; choose another output"
        )


@pytest.mark.parametrize("spelling", ["", ".", Path()])
def test_the_current_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str | Path
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match=r"^('')?\.?: is the current folder"):
        AtomicFolder(spelling, objection=lambda _: None).__enter__()
    assert names(tmp_path) == ["here"]


def test_messages_show_the_path_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    write(tmp_path / "disk" / "engine", "old")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"^link/engine: already exists"):
        write(Path("link/engine"), "new")


def test_the_lock_is_not_executable(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "engine"):
        assert (tmp_path / ".engine.lock").stat().st_mode & 0o111 == 0


def test_a_library_that_cannot_be_loaded_is_no_output_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="libcuda"):
        fail(tmp_path / "engine", OSError("libcuda.so: cannot open shared object file"))
    assert names(tmp_path) == []


def test_what_speaks_against_replacing_is_asked_early_and_late(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    with AtomicFolder(target, objection=lambda folder: f"holds {names(folder)}") as folder:
        target.mkdir()
        (target / "notes").touch()
        with pytest.raises(OutputError, match=r"engine: holds \['notes'\], so it is not overw"):
            folder.commit()
    with pytest.raises(OutputError, match=r"engine: holds \['notes'\], so it is not overw"):
        AtomicFolder(target, objection=lambda folder: f"holds {names(folder)}").__enter__()
    assert names(target) == ["notes"]
    assert names(tmp_path) == ["engine"]


def test_an_existing_engine_is_refused_early_and_late(tmp_path: Path) -> None:
    write(tmp_path / "engine", "old")
    with pytest.raises(OutputError, match=r"already exists.*--overwrite"):
        AtomicFolder(tmp_path / "engine").__enter__()
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


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    with writer(target) as process:
        assert names(tmp_path) == [".engine.lock", ".engine.partial"]
        for overwrite in (False, True):
            with pytest.raises(OutputError) as caught:
                write(target, "mine", overwrite=overwrite)
            assert str(caught.value) == (
                f"{target}: another export is writing this folder; wait for it, or choose "
                "another output"
            )
        write(tmp_path / "other", "mine")
        assert names(tmp_path) == [".engine.lock", ".engine.partial", "other"]
        assert text_of(tmp_path / ".engine.partial") == "by another process"
        assert process.poll() is None
    write(target, "mine")
    assert names(tmp_path) == ["engine", "other"]
    assert text_of(target) == "mine"


def test_a_living_writer_between_its_renames_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    rename = Path.rename

    def renaming(self: Path, to: Path) -> Path:
        if self.name == ".engine.partial":
            with pytest.raises(OutputError, match="another export"):
                write(target, "mine", overwrite=True)
            assert names(tmp_path) == [".engine.lock", ".engine.partial", ".engine.replaced"]
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", renaming)
    write(target, "new", overwrite=True)
    assert text_of(target) == "new"
    assert names(tmp_path) == ["engine"]


def test_a_killed_writer_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    with writer(target) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert names(tmp_path) == [".engine.lock", ".engine.partial"]
    write(target, "new")
    assert names(tmp_path) == ["engine"]
    assert names(target) == [MANIFEST_NAME]
    assert text_of(target) == "new"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_a_writer_killed_at_any_stage_leaves_one_whole_engine(
    tmp_path: Path, stage: str, fails: bool
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    kill_writer(target, stage)
    if stage in COMMITTED:
        assert text_of(target) == "by another process"
    if fails:
        with pytest.raises(ValueError, match="stop"):
            fail(target, ValueError("stop"), overwrite=True)
    else:
        with pytest.raises(OutputError, match="already exists"):
            write(target, "new")
    assert names(tmp_path) == ["engine"]
    if stage in COMMITTED:
        assert names(target) == [MANIFEST_NAME, "weights"]
        assert text_of(target) == "by another process"
    else:
        assert names(target) == [MANIFEST_NAME]
        assert text_of(target) == "old"


@pytest.mark.parametrize("stage", STAGES)
def test_a_writer_killed_at_any_stage_does_not_stop_the_next(tmp_path: Path, stage: str) -> None:
    write(tmp_path / "engine", "old")
    kill_writer(tmp_path / "engine", stage)
    write(tmp_path / "engine", "new", overwrite=True)
    assert names(tmp_path) == ["engine"]
    assert names(tmp_path / "engine") == [MANIFEST_NAME]
    assert text_of(tmp_path / "engine") == "new"


def test_an_old_engine_is_put_back_into_an_empty_folder(tmp_path: Path) -> None:
    write(tmp_path / "engine", "old")
    kill_writer(tmp_path / "engine", "moving the old engine")
    (tmp_path / "engine").mkdir()  # by a user who wonders where it went
    with pytest.raises(ValueError, match="stop"):
        fail(tmp_path / "engine", ValueError("stop"), overwrite=True)
    assert text_of(tmp_path / "engine") == "old"
    assert names(tmp_path) == ["engine"]


@pytest.mark.parametrize("successor", [False, True])
def test_a_lock_on_a_file_that_was_removed_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, successor: bool
) -> None:
    lock = tmp_path / ".engine.lock"
    flock = fcntl.flock
    inodes: list[int] = []

    def late(descriptor: int, how: int) -> None:
        # Between open and flock the last holder removes the file, and another makes a new one.
        inodes.append(os.fstat(descriptor).st_ino)
        if len(inodes) == 1:
            lock.unlink()
            if successor:
                lock.touch()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with AtomicFolder(tmp_path / "engine"):
        assert lock.stat().st_ino == inodes[-1]
        assert len(inodes) == 2
        with pytest.raises(OutputError, match="another export"):
            write(tmp_path / "engine", "mine")
    assert names(tmp_path) == []


def test_a_folder_removed_by_a_failing_writer_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    opening = os.open

    def late(path: str, flags: int, *args: int) -> int:
        if folder.is_dir():
            monkeypatch.undo()
            folder.rmdir()
            folder.parent.rmdir()
        return opening(path, flags, *args)

    monkeypatch.setattr(os, "open", late)
    write(folder / "engine", "new")
    assert text_of(folder / "engine") == "new"


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(OutputError, match=f"engine: cannot write.*: {os.strerror(code)}$"):
        write(tmp_path / "a" / "engine", "new")
    assert names(tmp_path) == []


def test_a_folder_that_takes_no_files_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="cannot write the engine"):
        write(Path("/proc/engine"), "new")


HAMMER = """
import os, sys, threading, time
from deltaport.errors import OutputError
from deltaport.exporter.atomic_folder import AtomicFolder

end = time.monotonic() + 2
outcomes = {"written": 0, "refused": 0, "failed": 0}
problems = []

def hammer(thread):
    turn = 0
    while time.monotonic() < end:
        turn += 1
        who = f"{os.getpid()} {thread} {turn}"
        try:
            with AtomicFolder(sys.argv[1], objection=lambda _: None) as folder:
                for name in ("manifest.json", "weights", f"only {who}"):
                    (folder.path / name).write_text(who)
                if turn % 3 == 0:
                    raise ValueError
                folder.commit()
            outcomes["written"] += 1
        except ValueError:
            outcomes["failed"] += 1
        except OutputError as error:
            outcomes["refused"] += 1
            if "another export" not in str(error):
                problems.append(str(error))

threads = [threading.Thread(target=hammer, args=[thread]) for thread in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*outcomes.values(), *problems)
"""


def test_many_writers_leave_one_whole_engine(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "engine"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(target)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    totals = [0, 0, 0]
    for process in processes:
        stdout, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert len(stdout.split()) == 3, stdout  # and no problems
        totals = [total + int(count) for total, count in zip(totals, stdout.split(), strict=True)]
    assert all(totals), totals  # written, refused and failed
    who = text_of(target)
    assert names(target) == sorted([MANIFEST_NAME, "weights", f"only {who}"])
    assert {(target / name).read_text() for name in names(target)} == {who}
    assert names(target.parent) == ["engine"]


def test_two_writers_in_one_process_do_not_mix(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "engine") as folder:
        (folder.path / MANIFEST_NAME).write_text("first")
        with pytest.raises(OutputError):
            write(tmp_path / "engine", "second")
        folder.commit()
    assert text_of(tmp_path / "engine") == "first"
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


@pytest.mark.parametrize("number", [1, 2])
def test_ctrl_c_as_a_rename_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    rename = Path.rename
    calls = 0

    def interrupted(self: Path, to: Path) -> Path:
        nonlocal calls
        path = rename(self, to)
        calls += to in (target, tmp_path / ".engine.replaced")
        if calls == number:
            raise KeyboardInterrupt("stop")
        return path

    with AtomicFolder(target, objection=unless_engine) as folder:
        (folder.path / MANIFEST_NAME).write_text("new")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", interrupted)
            with pytest.raises(KeyboardInterrupt, match="stop"):
                folder.commit()
    assert text_of(target) == ("old" if number == 1 else "new")
    assert names(tmp_path) == ["engine"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_parent_that_cannot_be_synced_does_not_undo_the_new_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    target = tmp_path / "engine"
    if overwrite:
        write(target, "old")
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(errno.EINVAL, "stop")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    write(target, "new", overwrite=overwrite)
    assert text_of(target) == "new"
    assert names(target) == [MANIFEST_NAME]
    assert names(tmp_path) == ["engine"]


def test_ctrl_c_while_syncing_the_parent_keeps_the_new_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    fsync = os.fsync

    def interrupted(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise KeyboardInterrupt("stop")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stop"):
        write(target, "new", overwrite=True)
    assert text_of(target) == "new"
    assert names(tmp_path) == ["engine"]


def test_an_old_engine_that_cannot_be_removed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", raising(OSError(errno.EBUSY, "stop")))
        write(target, "new", overwrite=True)
    assert_only_a_left_over(target)


def test_ctrl_c_while_removing_the_old_engine_keeps_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", raising(KeyboardInterrupt("stop")))
        with pytest.raises(KeyboardInterrupt, match="stop"):
            write(target, "new", overwrite=True)
    assert_only_a_left_over(target)


def raising(error: BaseException) -> Callable[..., None]:
    def function(*_: object, **__: object) -> None:
        raise error

    return function


def assert_only_a_left_over(target: Path) -> None:
    """The new engine is in place; beside it lies one folder that the next writer removes."""
    assert text_of(target) == "new"
    [left_over, _] = names(target.parent)
    assert left_over in (".engine.partial", ".engine.replaced")
    with pytest.raises(OutputError, match="already exists"):
        write(target, "newest")
    assert text_of(target) == "new"
    assert names(target.parent) == ["engine"]


def test_half_of_an_old_engine_never_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "engine"
    write(target, "old")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", raising(KeyboardInterrupt("stop")))
        with pytest.raises(KeyboardInterrupt, match="stop"):
            write(target, "new", overwrite=True)
    shutil.rmtree(target)  # by a user who wants neither
    with pytest.raises(ValueError, match="stop"):
        fail(target, ValueError("stop"))
    assert names(tmp_path) == []


def test_folders_made_for_an_engine_that_fails_are_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="stop"):
        fail(tmp_path / "mine" / "a" / "b" / "engine", ValueError("stop"))
    assert names(tmp_path) == ["mine"]
    assert names(tmp_path / "mine") == []


def test_folders_made_for_an_engine_stay_if_something_else_is_in_them(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "a" / "b" / "engine"):
        (tmp_path / "a" / "notes").touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["notes"]


@pytest.mark.parametrize("name", ["a*", "a?", "[ab]", "a[!b]c", "]a[", "**", "a b", "-a", "ключ"])
def test_names_are_taken_literally(tmp_path: Path, name: str) -> None:
    # Folders that the name would match as a pattern belong to other engines.
    others = [f".{other}.partial" for other in ("ab", "aXc", "a", "b", "a*x")]
    for other in others:
        (tmp_path / other).mkdir()
    (tmp_path / f".{name}.partial").mkdir()
    write(tmp_path / name, "new")
    assert names(tmp_path) == sorted([*others, name])
    assert text_of(tmp_path / name) == "new"


def test_a_target_is_checked_without_being_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "engine"
    AtomicFolder(tmp_path / "not" / "there").check_target()
    target.mkdir()
    AtomicFolder(target).check_target()
    (target / "file").touch()
    with pytest.raises(OutputError, match="already exists"):
        AtomicFolder(target).check_target()
    AtomicFolder(target, objection=lambda _: None).check_target()
    with pytest.raises(OutputError, match="is odd, so it is not overwritten"):
        AtomicFolder(target, objection=lambda _: "is odd").check_target()

    def forbidden(_: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with pytest.raises(OutputError, match="engine: cannot write the engine: Permission denied"):
        AtomicFolder(target, objection=forbidden).check_target()
    assert sorted(tmp_path.rglob("*")) == [target, target / "file"]


def leave_half_made(target: Path, *files: str) -> None:
    """Have another process be killed while it writes ``target``."""
    code = (
        "import os, sys\n"
        "from deltaport.exporter.atomic_folder import AtomicFolder\n"
        "with AtomicFolder(sys.argv[1]) as folder:\n"
        "    for name in sys.argv[2:]:\n"
        "        (folder.path / name).write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", code, str(target), *files]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("files", "resumable", "kept"),
    [
        (("journal", "weights"), "journal", ["journal", "weights"]),
        (("weights",), "journal", []),
        (("journal", "weights"), None, []),
    ],
)
def test_what_a_killed_writer_can_go_on_with_is_kept(
    tmp_path: Path, files: tuple[str, ...], resumable: str | None, kept: list[str]
) -> None:
    target = tmp_path / "engine"
    leave_half_made(target, *files)
    for _ in range(2):  # whoever does not take it over leaves it as it is
        with AtomicFolder(target, resumable=resumable) as folder:
            assert names(folder.path) == kept
            assert not target.exists()
    with AtomicFolder(target, resumable=resumable) as folder:
        folder.take_over()
    assert names(tmp_path) == [], "and who does, and is not killed, leaves nothing"


def test_a_link_in_place_of_a_half_made_folder(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "journal").write_text("")
    (tmp_path / ".engine.partial").symlink_to(theirs)
    with AtomicFolder(tmp_path / "engine", resumable="journal") as folder:
        assert names(folder.path) == []
        (folder.path / "new").write_text("")
        folder.commit()
    assert (names(tmp_path), names(theirs)) == (["engine", "theirs"], ["journal"])


def test_an_old_engine_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    """Not even one that holds such a file: it was on its way out when its writer was killed."""
    target = tmp_path / "engine"
    write(target, "old")
    (target / "journal").write_text("")
    kill_writer(target, "moving the new engine")
    with AtomicFolder(target, objection=unless_engine, resumable="journal") as folder:
        assert names(folder.path) == []
    assert text_of(target) == "by another process"
