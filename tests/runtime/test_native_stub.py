"""The committed stub says what the native module has: it is what type checkers see."""

from __future__ import annotations

from pathlib import Path

from nanobind.stubgen import StubGen

from deltaport.custom_op_version import OP_LIBRARY_VERSION
from deltaport.runtime import _native

STUB = Path(__file__).resolve().parents[2] / "runtime" / "_native.pyi"


def test_the_stub_is_what_nanobind_makes_of_the_module() -> None:
    made = StubGen(_native)
    made.put(_native)
    assert STUB.read_text() == made.get(), "make stub writes it anew"


def test_both_sides_know_the_same_ops() -> None:
    assert _native.OP_LIBRARY_VERSION == OP_LIBRARY_VERSION
