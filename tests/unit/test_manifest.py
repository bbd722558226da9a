"""A manifest is read back as it was written; whatever else a file holds is an EngineError."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.errors import EngineError
from deltaport.package import SCHEMA_VERSION, FileEntry, Manifest, Plan
from deltaport.state_layout import StateLayout, StateTensor

MANIFEST = Manifest(
    deltaport_version="0.1.0",
    target="portable",
    ragged=True,
    dtype="bfloat16",
    decoder="decoder.onnx",
    vocab_size=1000,
    max_positions=262144,
    eos_token_ids=(7, 999),
    op_library_version=1,
    quantization=None,
    model={"rope": {"theta": 1e7, "sections": [11, 11, 10]}, "tied": False, "name": "ключ"},
    not_exported={"vision": 3, "mtp": 0},
    state=StateLayout(
        (StateTensor(0, "conv", "past", "present", ("slots", 3, 8), "float32", "in_place", False),)
    ),
    files=(
        FileEntry("decoder.onnx", 123, "0123456789abcdef" * 4),
        FileEntry("tokenizer/merges.txt", 0, "f" * 64),
    ),
)
DOCUMENT: dict[str, Any] = json.loads(MANIFEST.to_json())


def parse(document: object) -> Manifest:
    return Manifest.from_json(json.dumps(document), source="m.json")


def with_path(path: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["files"][1]["path"] = path
    return document


def test_round_trip() -> None:
    again = Manifest.from_json(MANIFEST.to_json(), source="m.json")
    assert again == MANIFEST
    assert again.to_json() == MANIFEST.to_json()


def test_the_text_is_stable() -> None:
    assert MANIFEST.to_json().endswith("}\n")
    assert next(iter(DOCUMENT)) == "schema_version"
    assert DOCUMENT["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "a/..",
        "..",
        "/etc/passwd",
        "//host/share",
        "a\\b",
        "..\\x",
        "\\\\host\\share",
        "C:x",
        "C:/x",
        "c:\\x",
        "file:stream",
        "a\0b",
        "\0",
        "",
        ".",
        "./a",
        "a/",
        "a//b",
        "a/./b",
        "line\nbreak",
        "\x1b[2J",
        "\ud800",
        None,
        7,
        ["a"],
        {"a": 1},
    ],
)
def test_a_path_that_is_not_plainly_inside_is_refused(path: object) -> None:
    with pytest.raises(EngineError, match=r"^m\.json: files\[1\]: path .* refusing"):
        parse(with_path(path))


@pytest.mark.parametrize("path", ["a", "a/b/c.txt", "..a", "a..", "...", "ключ", "a b"])
def test_a_path_inside_is_accepted(path: str) -> None:
    assert parse(with_path(path)).files[1].path == path


def test_a_path_listed_twice_is_refused() -> None:
    with pytest.raises(EngineError, match="files lists a path twice"):
        parse(with_path("decoder.onnx"))


def test_an_older_schema_is_refused_before_its_fields_are_judged() -> None:
    with pytest.raises(EngineError, match="schema version 1 was written by an older deltaport"):
        parse({"schema_version": 1, "something": "gone"})


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 10**30])
def test_a_newer_schema_is_refused_before_its_fields_are_judged(version: int) -> None:
    with pytest.raises(EngineError, match=f"newer than {SCHEMA_VERSION}.*upgrade deltaport"):
        parse({"schema_version": version, "something": "new"})


@pytest.mark.parametrize("version", [None, "1", 0, -1, True, 1.0, [1]])
def test_a_senseless_schema_version_is_refused(version: object) -> None:
    with pytest.raises(EngineError, match=r"^m\.json: schema_version is"):
        parse(DOCUMENT | {"schema_version": version})


@pytest.mark.parametrize("field", sorted(DOCUMENT))
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(EngineError, match=rf"^m\.json: {field}"):
        parse({name: value for name, value in DOCUMENT.items() if name != field})


VALUES: tuple[object, ...] = ("text", 7, 2.5, True, None, ["a"], {"a": "b"})
MISTYPED = [
    (field, value)
    for field in DOCUMENT
    for value in VALUES
    if type(value) is not type(DOCUMENT[field])
]


@pytest.mark.parametrize(("field", "value"), MISTYPED)
def test_a_mistyped_field_is_named(field: str, value: object) -> None:
    with pytest.raises(EngineError, match=rf"^m\.json: {field}"):
        parse(DOCUMENT | {field: value})


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(EngineError, match="unknown field 'adapters'"):
        parse(DOCUMENT | {"adapters": []})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"vocab_size": 2**31}, "vocab_size"),
        ({"max_positions": -5}, "max_positions"),
        ({"op_library_version": 0}, "op_library_version"),
        ({"eos_token_ids": [1000]}, "eos_token_ids"),
        ({"eos_token_ids": [-1]}, "eos_token_ids"),
        ({"eos_token_ids": ["7"]}, "eos_token_ids"),
        ({"eos_token_ids": [True]}, "eos_token_ids"),
        ({"not_exported": {"vision": "3"}}, "not_exported"),
        ({"not_exported": {"vision": -1}}, "not_exported"),
        ({"not_exported": {"vision": None}}, "not_exported"),
        ({"decoder": "manifest.json"}, "decoder .* is not among files"),
        ({"decoder": "../decoder.onnx"}, "decoder .* is not among files"),
        ({"files": []}, "decoder .* is not among files"),
        ({"files": ["decoder.onnx"]}, r"files\[0\]: expected the fields"),
        ({"files": [None]}, r"files\[0\]: expected the fields"),
        ({"files": [{"path": "a", "size": 1}]}, r"files\[0\]: expected the fields"),
        ({"state": [{}]}, r"state\[0\]: expected the fields"),
    ],
)
def test_a_wrong_value_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=rf"^m\.json: {message}"):
        parse(DOCUMENT | fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", -1),
        ("size", 1.0),
        ("size", True),
        ("size", "1"),
        ("sha256", "0" * 63),
        ("sha256", "0" * 64 + "\n"),
        ("sha256", "F" * 64),
        ("sha256", "g" * 64),
        ("sha256", "٣" * 64),
        ("sha256", None),
    ],
)
def test_a_wrong_file_entry_is_refused(field: str, value: object) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["files"][1][field] = value
    with pytest.raises(EngineError, match=rf"^m\.json: files\[1\]: {field}"):
        parse(document)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "nul", "[]", "3", '"x"', "null", "{}", '{"a": 1,}', "\ufeff{}"),
        *("[" * 100_000, '{"a":' * 100_000, '{"schema_version": ' + "9" * 5000 + "}"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match=r"^m\.json: "):
        Manifest.from_json(text, source="m.json")


@pytest.mark.parametrize("depth", [50, 400, 900, 960, 980, 990, 2000])
def test_nesting_of_any_depth_is_refused_where_it_does_not_belong(depth: int) -> None:
    text = json.dumps(DOCUMENT | {"dtype": "DEEP"}).replace('"DEEP"', "[" * depth + "]" * depth)
    with pytest.raises(EngineError, match=r"^m\.json: "):
        Manifest.from_json(text, source="m.json")


def outcome(document: object) -> Manifest | str:
    """The manifest, or the message of an EngineError; any other exception is a failure."""
    try:
        return parse(document)
    except EngineError as error:
        return str(error)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(document=ANYTHING)
def test_any_json_is_an_engine_error(document: object) -> None:
    message = outcome(document)
    assert isinstance(message, str)
    assert message.startswith("m.json: ")
    assert "\n" not in message


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A good document with one value, at any depth, replaced or removed or something added."""
    document = copy.deepcopy(DOCUMENT)
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from(keys))
        if not at[key] or not isinstance(at[key], dict | list) or draw(st.booleans()):
            break
        at = at[key]
    action = draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "remove":
        del at[key]
    elif action == "add" and isinstance(at, dict):
        at[draw(st.text(max_size=8))] = draw(ANYTHING)
    else:
        at[key] = draw(ANYTHING)
    return document


@settings(max_examples=400, deadline=None, derandomize=True)
@given(document=damaged())
def test_any_damage_is_a_manifest_or_an_engine_error(document: dict[str, Any]) -> None:
    result = outcome(document)
    if not isinstance(result, Manifest):
        assert result.startswith("m.json: ")
        assert "\n" not in result
    else:
        # What is accepted is kept (compared as text, since NaN is not equal to itself).
        assert json.dumps(json.loads(result.to_json())) == json.dumps(document)


PLAN = Plan("decoder.onnx", "TensorRT-RTX 1.7.1.116", "sm89", 8, 512, 8192)


def test_a_plan_round_trip() -> None:
    manifest = replace(MANIFEST, plan=PLAN)
    assert Manifest.from_json(manifest.to_json(), source="m.json") == manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "other.plan"}, "plan 'other.plan' is not among files"),
        ({"file": 1}, r"plan\.file is 1, expected text"),
        ({"gpu": ""}, r"plan\.gpu is '', expected text"),
        ({"builder": "a\nb"}, r"plan\.builder is 'a\\nb', expected text"),
        ({"slots": 0}, r"plan\.slots is 0, expected a positive integer"),
        ({"capacity": True}, r"plan\.capacity is True, expected a positive integer"),
        ({"prefill_tokens": 2**31}, r"plan\.prefill_tokens is 2147483648, expected a positive"),
        ({"more": 1}, "plan: expected the fields file, builder, gpu, slots"),
    ],
)
def test_a_damaged_plan_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        parse(DOCUMENT | {"plan": PLAN.to_json() | change})
