"""Layouts survive the manifest; anything else in their place is an EngineError that says where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deltaport.errors import EngineError
from deltaport.state_layout import StateLayout, StateTensor

KEY = StateTensor(
    layer=3,
    kind="kv",
    input="past.3.key",
    output="present.3.key",
    shape=("slots", 2, "capacity", 8),
    dtype="float32",
    update="in_place",
    rewindable=True,
)
MATRIX = StateTensor(
    layer=0,
    kind="recurrent",
    input="past.0.recurrent",
    output="present.0.recurrent",
    shape=("slots", 4, 16, 32),
    dtype="float32",
    update="swap",
    rewindable=False,
)
LAYOUT = StateLayout((KEY, MATRIX))


def parse(rows: object) -> StateLayout:
    return StateLayout.from_json(rows, source="m.json")


def altered(**fields: Any) -> list[dict[str, Any]]:
    rows = LAYOUT.to_json()
    rows[1] |= fields
    return rows


def test_round_trip_through_json() -> None:
    assert parse(json.loads(json.dumps(LAYOUT.to_json()))) == LAYOUT
    assert parse([]) == StateLayout(())


def test_order_is_kept() -> None:
    assert [tensor.layer for tensor in parse(LAYOUT.to_json())] == [3, 0]
    assert len(parse(LAYOUT.to_json())) == 2


def test_json_is_what_the_manifest_documents() -> None:
    assert LAYOUT.to_json()[0] == {
        "layer": 3,
        "kind": "kv",
        "input": "past.3.key",
        "output": "present.3.key",
        "shape": ["slots", 2, "capacity", 8],
        "dtype": "float32",
        "update": "in_place",
        "rewindable": True,
    }


def test_concrete_shapes() -> None:
    assert KEY.concrete_shape(slots=3, capacity=100) == (3, 2, 100, 8)
    assert MATRIX.concrete_shape(slots=3, capacity=100) == (3, 4, 16, 32)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer", "0"),
        ("layer", True),
        ("layer", 0.0),
        ("layer", None),
        ("layer", -1),
        ("kind", "cache"),
        ("kind", ""),
        ("kind", ["kv"]),
        ("input", 7),
        ("input", ""),
        ("input", "past\x1b[2J"),
        ("output", None),
        ("output", ""),
        ("output", "x" * 1000),
        ("dtype", "float64"),
        ("dtype", "float"),
        ("dtype", None),
        ("update", "inplace"),
        ("update", None),
        ("rewindable", 1),
        ("rewindable", "no"),
        ("shape", "slots"),
        ("shape", None),
        ("shape", {"slots": 1}),
        ("shape", []),
        ("shape", ["slots"]),
        ("shape", [4, 16]),
        ("shape", [4, "slots"]),
        ("shape", ["slots", "slots"]),
        ("shape", ["slots", 0]),
        ("shape", ["slots", -4]),
        ("shape", ["slots", 2**31]),
        ("shape", ["slots", 4.0]),
        ("shape", ["slots", True]),
        ("shape", ["slots", "4"]),
        ("shape", ["slots", "batch"]),
        ("shape", ["slots", None]),
        ("shape", ["slots", [4]]),
        ("shape", ["capacity", 4]),
        ("shape", ["slots", "capacity", "capacity"]),
        ("kind", "kv"),
    ],
)
def test_a_wrong_value_is_refused(field: str, value: object) -> None:
    with pytest.raises(EngineError, match=r"^m\.json: state\[1\]"):
        parse(altered(**{field: value}))


@pytest.mark.parametrize("field", list(LAYOUT.to_json()[0]))
def test_a_missing_field_is_refused(field: str) -> None:
    rows = LAYOUT.to_json()
    del rows[1][field]
    with pytest.raises(EngineError, match=r"^m\.json: state\[1\]: expected the fields"):
        parse(rows)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(EngineError, match=r"^m\.json: state\[1\]: expected the fields"):
        parse(altered(offset=0))


@pytest.mark.parametrize("row", [None, 3, "row", [], ["layer"]])
def test_what_is_no_row_is_refused(row: object) -> None:
    with pytest.raises(EngineError, match=r"^m\.json: state\[0\]: expected the fields"):
        parse([row])


@pytest.mark.parametrize("rows", [None, {}, "rows", 3, {"0": LAYOUT.to_json()[0]}])
def test_what_is_no_list_is_refused(rows: object) -> None:
    with pytest.raises(EngineError, match=r"^m\.json: state is not a list"):
        parse(rows)


@pytest.mark.parametrize(
    "fields",
    [
        {"input": KEY.input},
        {"output": KEY.output},
        {"input": KEY.output},
        {"output": KEY.input},
        {"input": "same", "output": "same"},
    ],
)
def test_a_name_used_twice_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(EngineError, match="names a tensor twice"):
        parse(altered(**fields))


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("bfloat16", 2)])
def test_an_element_has_the_bytes_of_its_dtype(dtype: str, size: int) -> None:
    tensor = StateTensor(0, "kv", "p", "o", ("slots", "capacity"), dtype, "swap", True)
    assert tensor.itemsize == size


def test_caches_and_windows_tell_what_an_engine_computes_in() -> None:
    matrix = StateTensor(0, "recurrent", "a", "b", ("slots", 2), "float32", "swap", False)
    cache = StateTensor(1, "kv", "c", "d", ("slots", "capacity"), "float16", "swap", True)
    assert StateLayout((matrix, cache)).activation_dtype == "float16"
    assert StateLayout((matrix,)).activation_dtype == "float32"
