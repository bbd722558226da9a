"""Each way in which a graph can hang together wrongly is found, and told by node and value."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from tests.passes.sound_graph import Edit, fault_of, node_of, parsed


def swap_nodes(model: ir.Model) -> None:
    product = node_of(model, "MatMul")
    model.graph.remove(product)
    model.graph.append(product)


def take_away_producer(model: ir.Model) -> None:
    model.graph.remove(node_of(model, "MatMul"))


def read_a_stranger(model: ir.Model) -> None:
    stranger = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    node_of(model, "MatMul").replace_input_with(0, stranger)


def leave_a_reader_behind(model: ir.Model) -> None:
    ir.Node("", "Relu", [node_of(model, "MatMul").outputs[0]], name="left_behind")


def rename_to_taken(model: ir.Model) -> None:
    node_of(model, "MatMul").outputs[0].name = "n"


def rename_to_an_input(model: ir.Model) -> None:
    node_of(model, "MatMul").outputs[0].name = "x"


def name_nothing(model: ir.Model) -> None:
    node_of(model, "MatMul").outputs[0].name = None


def name_nothing_empty(model: ir.Model) -> None:
    node_of(model, "MatMul").outputs[0].name = ""


def rename_an_initializer(model: ir.Model) -> None:
    value = model.graph.initializers["w"]
    value._name = "w2"  # its own setter keeps the table in step


def empty_an_initializer(model: ir.Model) -> None:
    model.graph.initializers["w"].const_value = None


def name_an_initializer_like_an_input(model: ir.Model) -> None:
    value = model.graph.initializers.pop("w")
    value.name = "x"
    model.graph.initializers["x"] = value


def lose_an_output(model: ir.Model) -> None:
    model.graph.outputs.append(ir.Value(name="lost"))


def give_an_output_twice(model: ir.Model) -> None:
    model.graph.outputs.append(model.graph.outputs[0])


def give_an_output_unnamed(model: ir.Model) -> None:
    model.graph.outputs[0].name = ""


STRUCTURE = {
    "out of order": (
        swap_nodes,
        "SwiGLU (s): input 0 (h): is given by MatMul (h), which comes later or is in another graph",
    ),
    "producer removed": (
        take_away_producer,
        "initializer (w): is read by MatMul (h), which is in no graph",
    ),
    "a value of nowhere": (
        read_a_stranger,
        "MatMul (h): input 0 (x): is no input and no initializer, and no node gives it",
    ),
    "a reader left behind": (
        leave_a_reader_behind,
        "MatMul (h): output 0 (h): is read by Relu (left_behind), which is in no graph",
    ),
    "a name taken": (rename_to_taken, "MatMul (n): output 0 (n): the name is taken"),
    "an input's name": (rename_to_an_input, "MatMul (x): output 0 (x): the name is taken"),
    "no name": (name_nothing, "MatMul (no name): output 0: has no name"),
    "an empty name for what is read": (
        name_nothing_empty,
        "MatMul (no name): output 0: has no name",
    ),
    "an initializer's two names": (rename_an_initializer, "initializer w: is called w2"),
    "an initializer without value": (empty_an_initializer, "initializer w: has no value"),
    "an initializer named as an input": (
        name_an_initializer_like_an_input,
        "initializer (x): the name is taken",
    ),
    "an output no node gives": (
        lose_an_output,
        "graph output (lost): is no input and no initializer, and no node gives it",
    ),
    "an output twice": (give_an_output_twice, "graph output (y): is listed twice"),
    "an output without name": (
        give_an_output_unnamed,
        "GatedRMSNorm (no name): output 0: has no name",
    ),
}


@pytest.mark.parametrize(("edit", "message"), STRUCTURE.values(), ids=STRUCTURE)
def test_structure(edit: Edit, message: str) -> None:
    model = parsed()
    edit(model)
    assert fault_of(model) == message


def test_a_value_of_a_node_that_was_removed_is_told_as_that() -> None:
    model = parsed()
    removed = ir.Node("", "Relu", [], name="removed")
    model.graph.outputs.append(removed.outputs[0])
    removed.outputs[0].name = "r"
    assert fault_of(model) == "graph output (r): is given by Relu (removed), which is in no graph"


BRANCH = """
    g (float[4] x, bool c) => (float[4] y)
    <float[4] later>
    {
        y = If(c) <
            then_branch = t () => (float[4] a) { a = Abs(x) },
            else_branch = e () => (float[4] b) { b = Neg(x) }
        >
        later = Neg(x)
    }
"""


def test_subgraphs_see_what_is_around_them() -> None:
    VerifyGraph()(parsed(BRANCH, {}))


def test_a_subgraph_reading_what_comes_later_is_found() -> None:
    model = parsed(BRANCH, {})
    branch = node_of(model, "If").attributes["else_branch"].as_graph()
    branch[0].replace_input_with(0, node_of(model, "Neg").outputs[0])
    assert fault_of(model) == (
        "Neg (b): input 0 (later): is given by Neg (later), which comes later or is in "
        "another graph"
    )


def test_a_subgraph_may_not_take_a_name_from_around_it() -> None:
    model = parsed(BRANCH, {})
    branch = node_of(model, "If").attributes["then_branch"].as_graph()
    branch[0].outputs[0].name = "x"
    assert fault_of(model) == "Abs (x): output 0 (x): the name is taken"


def test_an_input_may_have_a_default() -> None:
    text = "g (float[4] x) => (float[4] y) { y = Neg(x) }"
    model = parsed(text, {})
    model.graph.inputs[0].const_value = ir.tensor(np.zeros(4, np.float32), name="x")
    model.graph.initializers["x"] = model.graph.inputs[0]
    VerifyGraph()(model)
