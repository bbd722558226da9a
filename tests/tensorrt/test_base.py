"""What the adapter's shared part has for ops to come, by an op of the tests' own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.cpp_programs import run
from tests.oracles import Array
from tests.tensorrt.mock_host import RUNTIME, Library, MockHost
from tests.tensorrt.test_plugins import refusal


def whole(*values: int) -> Array:
    return np.array(values, np.int64)


def test_a_required_attribute(example: Library) -> None:
    creator = example["Repeat"]
    offset = ("float32", np.array([0.25], np.float32))
    assert creator.fields() == {"offset": offset, "repeats": ("int64", None)}
    message = "Repeat: the attribute repeats is missing"
    assert refusal(example, creator.create({})) == message
    # Parsers give what is int64 in a graph as int32, too.
    for given in (whole(3), whole(3).astype(np.int32)):
        loaded = creator.create({"repeats": given}, RUNTIME)
        assert loaded is not None
        assert loaded.serialized() == {"offset": offset, "repeats": ("int64", whole(3))}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (whole(0), "is 0, but has to be finite and at least 1"),
        (whole(1, 2), "is not one int64 or int32"),
        (np.array([-1], np.int32), "is -1, but has to be finite and at least 1"),
        (np.ones(2, np.int32), "is not one int64 or int32"),
        (np.ones(1, np.float32), "is not one int64 or int32"),
    ],
)
def test_values_it_cannot_have(example: Library, value: Array, message: str) -> None:
    status = example["Repeat"].create({"repeats": value})
    assert refusal(example, status) == f"Repeat: the attribute repeats {message}"


def test_a_workspace_for_the_largest_call(example: Library) -> None:
    plugin = example.plugin("Repeat", repeats=whole(3))
    tensors = [("float32", (-1, 1)), ("float32", (-1, 1))]
    assert plugin.workspace(tensors, [(70, 1), (70, 1)]) == 280
    x, y = np.arange(5, dtype=np.float32)[:, None], np.full((5, 1), np.nan, np.float32)
    workspace = np.zeros(70, np.float32)
    assert plugin.enqueue(example.device, [x], [y], workspace) == 0
    assert (y == 3 * x + 0.25).all()


def test_a_call_without_the_workspace_it_needs(example: Library) -> None:
    plugin = example.plugin("Repeat", repeats=whole(3))
    x, y = np.ones((5, 1), np.float32), np.full((5, 1), np.nan, np.float32)
    assert refusal(example, plugin.enqueue(example.device, [x], [y])) == (
        "Repeat: there is no workspace, but the call needs one of 20 bytes"
    )
    assert np.isnan(y).all()


def test_what_is_thrown_and_is_no_exception(example: Library) -> None:
    plugin = example.plugin("Repeat", repeats=whole(13))
    x, y = np.ones((5, 1), np.float32), np.zeros((5, 1), np.float32)
    assert refusal(example, plugin.enqueue(example.device, [x], [y], np.zeros(5, np.float32))) == (
        "Repeat: something was thrown that says nothing of itself"
    )


END = """
import sys
from pathlib import Path
from tests.tensorrt.mock_host import MockHost
library = MockHost(Path(sys.argv[1])).load(Path(sys.argv[2]))
library.plugin("CausalConv1d").keep()
"""


def test_a_plugin_may_outlive_the_library_s_statics(host: MockHost, adapter: Library) -> None:
    """What was freed holds other bytes, so that it cannot be read by chance."""
    environment = {"MALLOC_PERTURB_": "165"}
    program = ("-c", END, host.path, adapter.path)
    done = run(Path(sys.executable), *program, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == adapter.plugin("CausalConv1d").metadata() + "\n"


def test_a_sum_with_a_negative_term(example: Library) -> None:
    plugin = example.plugin("Repeat", repeats=whole(1))
    assert plugin.output_shapes([(-1 - 4, -1 - 1)]) == [(4, 1)]
    assert plugin.output_shapes([(-1 - 4, -1 - 3)]) == [(4, 5)]
