"""Passes and pipelines as text: what is written can be read, and what cannot be read is named."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaport.errors import InputError
from deltaport.graph_passes import pass_text as subject
from deltaport.graph_passes.fold.fold_constants import FoldConstants
from deltaport.graph_passes.fold.fold_norm_offset import FoldNormOffset
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.pass_text import option_texts, parse_pass, pass_text, split_passes
from deltaport.graph_passes.pipeline import parse_pipeline


@dataclass(frozen=True)
class EveryKind(GraphPass):
    """A pass with an option of every kind there is."""

    name = "every-kind"

    how_often: int = 3
    how_far: float = 0.5
    is_on: bool = False
    called: str = "x"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        raise AssertionError("it is only read and written")


@pytest.fixture(autouse=True)
def also_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    known = subject.registered_passes()
    monkeypatch.setattr(subject, "registered_passes", lambda: {**known, "every-kind": EveryKind})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fold-norm-offset", FoldNormOffset()),
        ("  fold-norm-offset ", FoldNormOffset()),
        ("fold-norm-offset{}", FoldNormOffset()),
        ("fold-constants{max-bytes=8}", FoldConstants(max_bytes=8)),
        ("fold-constants { max-bytes = 8 , }", FoldConstants(max_bytes=8)),
        ("every-kind", EveryKind()),
        ("every-kind{how-often=-7}", EveryKind(how_often=-7)),
        ("every-kind{how-far=1e-3}", EveryKind(how_far=0.001)),
        ("every-kind{how-far=2}", EveryKind(how_far=2.0)),
        ("every-kind{is-on=true}", EveryKind(is_on=True)),
        ("every-kind{is-on=false}", EveryKind()),
        ("every-kind{called=a=b}", EveryKind(called="a=b")),
        ("every-kind{called=}", EveryKind(called="")),
        (
            "every-kind{is-on=true,called=two words,how-often=1,how-far=-0.25}",
            EveryKind(1, -0.25, True, "two words"),
        ),
    ],
)
def test_what_is_written_is_read(text: str, expected: GraphPass) -> None:
    found = parse_pass(text)
    assert found == expected
    assert [type(value) for value in dataclasses.astuple(found)] == [
        type(value) for value in dataclasses.astuple(expected)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pass '': there is no such pass; 'deltaport passes' lists them"),
        ("xyzzy", "pass 'xyzzy': there is no such pass; 'deltaport passes' lists them"),
        (
            "fold-constant{max-bytes=1}",
            "pass 'fold-constant': there is no such pass; did you mean fold-constants?",
        ),
        ("\x1b[2J", "pass '\\x1b[2J': there is no such pass; 'deltaport passes' lists them"),
        (
            "fold-constants{max-bytes=1",
            "pass 'fold-constants{max-bytes=1': expected NAME or NAME{OPTION=VALUE,...}",
        ),
        (
            "fold-constants}",
            "pass 'fold-constants}': expected NAME or NAME{OPTION=VALUE,...}",
        ),
        ("a{b{c}}", "pass 'a{b{c}}': expected NAME or NAME{OPTION=VALUE,...}"),
        (
            "fold-constants{size=1}",
            "pass fold-constants: option 'size': unknown; it has max-bytes",
        ),
        (
            "fold-norm-offset{size=1}",
            "pass fold-norm-offset: option 'size': unknown; it has no options",
        ),
        (
            "fold-constants{max_bytes=1}",
            "pass fold-constants: option 'max_bytes': unknown; it has max-bytes",
        ),
        (
            "fold-constants{max-bytes}",
            "pass fold-constants: option 'max-bytes': has no value; write max-bytes=VALUE",
        ),
        ("fold-constants{max-bytes=}", "pass fold-constants: option 'max-bytes': '' is no int"),
        (
            "fold-constants{max-bytes=1.5}",
            "pass fold-constants: option 'max-bytes': '1.5' is no int",
        ),
        ("every-kind{how-far=far}", "pass every-kind: option 'how-far': 'far' is no float"),
        ("every-kind{is-on=True}", "pass every-kind: option 'is-on': 'True' is no bool"),
        (
            "every-kind{is-on=true,is-on=false}",
            "pass every-kind: option 'is-on': given more than once",
        ),
        (
            "every-kind{size=1}",
            "pass every-kind: option 'size': unknown; it has how-often, how-far, is-on, called",
        ),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_pass(text)
    assert str(caught.value) == message


def test_only_what_differs_from_the_default_is_written() -> None:
    assert pass_text(EveryKind()) == "every-kind"
    assert pass_text(EveryKind(is_on=True)) == "every-kind{is-on=true}"
    assert pass_text(EveryKind(how_often=0, called="y")) == "every-kind{how-often=0,called=y}"


def test_options_and_their_defaults() -> None:
    assert option_texts(EveryKind) == [
        "how-often=3",
        "how-far=0.5",
        "is-on=false",
        "called=x",
    ]
    assert option_texts(FoldNormOffset) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("  ", []),
        ("a", ["a"]),
        (" a , b ", ["a", "b"]),
        ("a{x=1,y=2},b,c{}", ["a{x=1,y=2}", "b", "c{}"]),
        ("a,,b", ["a", "", "b"]),
        ("a,", ["a", ""]),
    ],
)
def test_pipelines_are_split_between_passes(text: str, parts: list[str]) -> None:
    assert split_passes(text) == parts


@pytest.mark.parametrize("text", ["fold-constants,,fold-norm-offset", "fold-constants,", ","])
def test_a_pipeline_with_a_hole(text: str) -> None:
    with pytest.raises(InputError, match="pass '': there is no such pass"):
        parse_pipeline(text)


NO_SYNTAX = st.text(st.characters(exclude_characters="{},", exclude_categories=["C", "Z"]))
EVERY_KIND = st.builds(
    EveryKind,
    how_often=st.integers(),
    how_far=st.floats(allow_nan=False),
    is_on=st.booleans(),
    called=NO_SYNTAX,
)
ANY_PASS: st.SearchStrategy[Any] = st.one_of(
    EVERY_KIND,
    st.builds(FoldConstants, max_bytes=st.integers()),
    st.just(FoldNormOffset()),
)


PIECES = st.lists(
    st.sampled_from(["every-kind", "{", "}", ",", "=", "how-far", "is-on", "true", "1", " "])
).map("".join)


@given(ANY_PASS)
def test_a_pass_survives_being_written(graph_pass: GraphPass) -> None:
    assert parse_pass(pass_text(graph_pass)) == graph_pass


@given(st.lists(ANY_PASS))
def test_a_pipeline_survives_being_written(passes: list[GraphPass]) -> None:
    text = ",".join(map(pass_text, passes))
    assert list(parse_pipeline(text)) == passes
    assert parse_pipeline(text).text == text


@given(st.text() | PIECES)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_pipeline(text)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert list(parse_pipeline(found.text)) == list(found)
    assert len(message.splitlines()) <= 1
