"""Where errors go: TensorRT has its loggers in one place or another, and not always the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tensorrt.mock_host import Library, MockHost

MESSAGE = "deltaport: CausalConv1d: K is 5, but the kernel takes 2 to 4"
WRONG = [(2, 5, 6), (6, 5), (2, 4, 6), (2,)]


@pytest.fixture
def another(host: MockHost, adapter: Library) -> Iterator[MockHost]:
    yield host
    host.pretend()
    host.load(adapter.path)


def say(library: Library) -> None:
    assert library.plugin("CausalConv1d").output_shapes(WRONG) == -1


def test_the_logger_of_the_engine_that_called(adapter: Library) -> None:
    say(adapter)
    assert adapter.host.log() == [f"1 {MESSAGE}"]


def test_the_logger_for_all_where_none_called(another: MockHost, adapter: Library) -> None:
    another.pretend(has_logger=False)
    say(adapter)
    assert another.log() == [f"for all: 1 {MESSAGE}"]


@pytest.mark.parametrize("step", [100, -100, 10000])
def test_no_logger_of_another_version(
    another: MockHost, adapter: Library, step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its functions may have other places, so that a call would do anything."""
    another.pretend(another.c.headers_version() + step)
    library = another.load(adapter.path)
    say(library)
    assert another.log() == []
    assert capfd.readouterr().err == MESSAGE + "\n"


def test_versions_that_differ_in_the_patch_are_the_same(
    another: MockHost, adapter: Library
) -> None:
    ours = another.c.headers_version()
    another.pretend(ours // 100 * 100 + (ours + 1) % 100)
    say(another.load(adapter.path))
    assert another.log() == [f"1 {MESSAGE}"]
