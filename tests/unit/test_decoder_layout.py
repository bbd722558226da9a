"""A state layout travels in its graph, through files too, and damage on the way is found."""

from __future__ import annotations

import dataclasses
import json

import onnx_ir as ir
import pytest

from deltaport.errors import EngineError
from deltaport.graph_passes.decoder_layout import LAYOUT_KEY, layout_of, set_layout
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
CONV = StateTensor(
    layer=4,
    kind="conv",
    input="past.4.conv",
    output="present.4.conv",
    shape=("slots", 3, 5),
    dtype="float32",
    update="swap",
    rewindable=False,
)
LAYOUT = StateLayout((KEY, CONV))


def a_model() -> ir.Model:
    graph = ir.Graph([], [], nodes=[], name="decoder", opset_imports={"": 24})
    return ir.Model(graph, ir_version=12)


@pytest.mark.parametrize("layout", [LAYOUT, StateLayout(())], ids=["two rows", "none"])
def test_it_comes_back_from_a_file(layout: StateLayout) -> None:
    model = a_model()
    set_layout(model, layout)
    again = ir.from_proto(ir.to_proto(model))
    assert layout_of(again) == layout
    assert model.metadata_props.keys() == {LAYOUT_KEY}


def test_the_last_one_counts() -> None:
    model = a_model()
    set_layout(model, LAYOUT)
    changed = StateLayout((KEY, dataclasses.replace(CONV, update="in_place")))
    set_layout(model, changed)
    assert layout_of(model) == changed


def test_it_is_in_the_words_of_a_manifest() -> None:
    model = a_model()
    set_layout(model, LAYOUT)
    assert json.loads(model.metadata_props[LAYOUT_KEY]) == {"state": LAYOUT.to_json()}


def test_a_graph_without() -> None:
    with pytest.raises(EngineError) as caught:
        layout_of(a_model())
    assert str(caught.value) == (
        "graph 'decoder': deltaport.state_layout: missing, "
        "so this is not a decoder graph of deltaport"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "object"),
        ("{}", "state is not a list"),
        ('{"state": 3}', "state is not a list"),
        ('{"state": [{}]}', r"state\[0\]: expected the fields layer, kind"),
        ('{"state": [], "state": []}', "twice|duplicate|more than once"),
    ],
)
def test_a_damaged_one(text: str, message: str) -> None:
    model = a_model()
    model.metadata_props[LAYOUT_KEY] = text
    with pytest.raises(EngineError, match=message) as caught:
        layout_of(model)
    assert str(caught.value).startswith("graph 'decoder': deltaport.state_layout: ")
    assert len(str(caught.value).splitlines()) == 1


def test_the_name_of_the_graph_is_made_harmless() -> None:
    model = a_model()
    model.graph.name = "\x1b[2J\nrm"
    with pytest.raises(EngineError) as caught:
        layout_of(model)
    assert str(caught.value).isprintable()
