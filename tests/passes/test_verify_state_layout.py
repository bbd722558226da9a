"""Each way in which a graph's interface can disagree with its state layout is found."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.verify.verify_state_layout import VerifyStateLayout
from deltaport.state_layout import StateLayout, StateTensor
from tests.passes.graph_text import parse_graph, print_graph

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
    update="in_place",
    rewindable=False,
)
LAYOUT = StateLayout((KEY, CONV))

INPUTS = {
    "input_ids": "int64[batch,tokens]",
    "positions": "int64[3,batch,tokens]",
    "lengths": "int64[batch]",
    "past_lengths": "int64[batch]",
    "logit_index": "int64[rows]",
    "past.3.key": "float[batch,2,capacity,8]",
    "past.4.conv": "float[batch,3,5]",
}
OUTPUTS = {
    "logits": "float[rows,9]",
    "present.3.key": "float[batch,2,capacity,8]",
    "present.4.conv": "float[batch,3,5]",
}


def graph_of(inputs: dict[str, str], outputs: dict[str, str]) -> str:
    def listed(values: dict[str, str]) -> str:
        return ", ".join(f'{kind} "{name}"' for name, kind in values.items())

    body = "\n".join(f'"{name}" = ai.deltaport.Make()' for name in outputs)
    return f"g ({listed(inputs)}) => ({listed(outputs)}) {{\n{body}\n}}"


def verify(
    inputs: dict[str, str] = INPUTS,
    outputs: dict[str, str] = OUTPUTS,
    layout: StateLayout = LAYOUT,
) -> None:
    model = parse_graph(graph_of(inputs, outputs))
    set_layout(model, layout)
    before = print_graph(model.graph)
    assert not VerifyStateLayout()(model).modified
    assert print_graph(model.graph) == before


def test_agreement_passes() -> None:
    verify()


def test_no_state_at_all_passes() -> None:
    verify(dict(list(INPUTS.items())[:5]), {"logits": OUTPUTS["logits"]}, StateLayout(()))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("past.4.conv", "float[batch,3,6]"),  # a size
        ("past.4.conv", "float[batch,5,3]"),  # the order of sizes
        ("past.4.conv", "float[batch,3]"),  # the rank
        ("past.4.conv", "float[2,3,5]"),  # a fixed number of slots
        ("past.4.conv", "float[rows,3,5]"),  # slots by another name
        ("past.4.conv", "float[batch,3,channels]"),  # a size left open
        ("past.4.conv", "float"),  # no shape
        ("past.4.conv", "float16[batch,3,5]"),
        ("past.4.conv", "int64[batch,3,5]"),
        ("past.3.key", "float[batch,2,33,8]"),  # a fixed capacity
        ("past.3.key", "float[batch,2,batch,8]"),
    ],
)
def test_another_shape_or_dtype_is_found(name: str, kind: str) -> None:
    with pytest.raises(PassError, match=rf"layer \d: {name}: (shape|dtype)"):
        verify({**INPUTS, name: kind})
    present = name.replace("past", "present")
    with pytest.raises(PassError, match=rf"layer \d: {present}: (shape|dtype)"):
        verify(outputs={**OUTPUTS, present: kind})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_state_may_be_in_half_precision(dtype: str) -> None:
    key = dataclasses.replace(KEY, dtype=dtype)
    shape = "[batch,2,capacity,8]"
    inputs, outputs = (
        {**values, name: f"{dtype}{shape}"}
        for values, name in ((INPUTS, "past.3.key"), (OUTPUTS, "present.3.key"))
    )
    verify(inputs, outputs, StateLayout((key, CONV)))
    with pytest.raises(PassError, match=r"past.3.key: dtype FLOAT, expected B?FLOAT16"):
        verify(layout=StateLayout((key, CONV)))


@pytest.mark.parametrize("name", ["past.3.key", "past.4.conv"])
def test_a_missing_tensor_is_found(name: str) -> None:
    with pytest.raises(PassError, match=rf"layer \d: {name}: not in the graph"):
        verify({key: kind for key, kind in INPUTS.items() if key != name})
    present = name.replace("past", "present")
    with pytest.raises(PassError, match=rf"layer \d: {present}: not in the graph"):
        verify(outputs={key: kind for key, kind in OUTPUTS.items() if key != present})


@pytest.mark.parametrize("name", list(INPUTS)[:5])
def test_a_missing_step_input_is_found(name: str) -> None:
    with pytest.raises(PassError, match=r"graph inputs are .* expected"):
        verify({key: kind for key, kind in INPUTS.items() if key != name})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("input_ids", "int32[batch,tokens]"),
        ("input_ids", "int64[tokens,batch]"),
        ("positions", "int64[batch,tokens]"),
        ("lengths", "int64[rows]"),
        ("logit_index", "int64[5]"),
    ],
)
def test_another_kind_of_step_input_is_found(name: str, kind: str) -> None:
    with pytest.raises(PassError, match=rf"{name}: (shape|dtype)"):
        verify({**INPUTS, name: kind})


@pytest.mark.parametrize("kind", ["float[batch,9]", "float[rows]", "float16[rows,9]", "float"])
def test_another_kind_of_logits_is_found(kind: str) -> None:
    with pytest.raises(PassError, match=r"logits: (shape|dtype)"):
        verify(outputs={**OUTPUTS, "logits": kind})


def test_missing_logits_are_found() -> None:
    with pytest.raises(PassError, match=r"graph outputs are .* expected"):
        verify(outputs={key: kind for key, kind in OUTPUTS.items() if key != "logits"})


def test_another_order_is_found() -> None:
    with pytest.raises(PassError, match="graph inputs are"):
        verify(dict(reversed(INPUTS.items())))
    with pytest.raises(PassError, match="graph outputs are"):
        verify(outputs=dict(reversed(OUTPUTS.items())))


def test_more_than_the_layout_names_is_found() -> None:
    with pytest.raises(PassError, match="graph inputs are"):
        verify({**INPUTS, "past.5.conv": "float[batch,3,5]"})
    with pytest.raises(PassError, match="graph outputs are"):
        verify(outputs={**OUTPUTS, "hidden": "float[rows,7]"})


@pytest.mark.parametrize("change", [{"shape": ("slots", 4, 5)}, {"input": "past.4.window"}])
def test_a_layout_that_is_wrong_is_found(change: dict[str, Any]) -> None:
    layout = StateLayout((KEY, dataclasses.replace(CONV, **change)))
    with pytest.raises(PassError, match="layer 4"):
        verify(layout=layout)
