"""Each way in which a graph can be wrong is found, and told by node, value, found and expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.recipes.arithmetic_recipes import Shift
from deltaport.graph_passes.recipes.layout_recipes import Concat
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from tests.passes.graph_text import parse_graph, print_graph, weight
from tests.passes.small_decoder import small_decoder, weights_of

Edit = Callable[[ir.Model], None]

SOUND = """
    g (float[B,T,8] x, float[B,T,8] before, float[8] scale, float[8,6] w, float[3] v)
        => (float[B,T,3] y, float[B,T,8] sum)
    <float[B,T,8] n, float[B,T,6] h, float[B,T,3] s>
    {
        n, sum = ai.deltaport.AddRMSNorm<norm_eps: float = 0.5>(x, before, scale)
        h = MatMul(n, w)
        s = ai.deltaport.SwiGLU(h)
        y = com.microsoft.GatedRMSNorm<epsilon: float = 0.5, activation: string = "silu">(s, v, s)
    }
"""
VECTOR = "n, sum = ai.deltaport.AddRMSNorm<norm_eps: float = 0.5>(x, before, scale)"
WEIGHTS = {"w": weight("w", 8, 6), "v": weight("v", 3)}


def parsed(text: str = SOUND, weights: Mapping[str, Recipe] = WEIGHTS) -> ir.Model:
    model = parse_graph(text, weights)
    model.graph.opset_imports["com.microsoft"] = 1
    return model


def fault_of(model: ir.Model) -> str:
    """What verify-graph says of a graph that is wrong, less its own name."""
    with pytest.raises(PassError) as caught:
        VerifyGraph()(model)
    name, _, message = str(caught.value).partition(": ")
    assert name == "verify-graph"
    assert "\n" not in message
    return message


def node_of(model: ir.Model, op_type: str) -> ir.Node:
    return next(node for node in model.graph if node.op_type == op_type)


def test_a_sound_graph_stays_as_it_is() -> None:
    model = parsed()
    before = print_graph(model.graph)
    assert not VerifyGraph()(model).modified
    assert print_graph(model.graph) == before


def test_a_decoder_with_all_bodies_is_sound() -> None:
    model = small_decoder(weights_of(np.dtype(np.float32)))
    AttachFunctionBodies()(model)
    assert model.functions
    VerifyGraph()(model)


CALLS = {
    "an unknown domain": (
        "h = MatMul(n, w)",
        "h = somewhere.MatMul(n, w)",
        "MatMul (h): domain somewhere is not imported",
    ),
    # Ours, against their definitions.
    "no op of ours": (
        "ai.deltaport.SwiGLU(h)",
        "ai.deltaport.SwooGLU(h)",
        "SwooGLU (s): ai.deltaport.SwooGLU has no definition",
    ),
    "an input too many": (
        "SwiGLU(h)",
        "SwiGLU(h, h)",
        "SwiGLU (s): has 2 inputs, expected 1",
    ),
    "an output too many": (
        "s = ai",
        "s, t = ai",
        "SwiGLU (s): has 2 outputs, expected 1",
    ),
    "an input left out": (
        "(x, before, scale)",
        "(x, , scale)",
        "AddRMSNorm (n): input residual is missing",
    ),
    "an attribute of another op": (
        "norm_eps: float = 0.5",
        "top_k: int = 5",
        "AddRMSNorm (n): attribute top_k is unknown",
    ),
    "an attribute of another type": (
        "norm_eps: float = 0.5",
        "norm_eps: int = 5",
        "AddRMSNorm (n): attribute norm_eps is INT, expected FLOAT",
    ),
    "a required attribute left out": (
        VECTOR,
        VECTOR + "\no, k, l = ai.deltaport.GatedAttention(n, n, n, v, v, n, n, n, n, n, n)",
        "GatedAttention (o): attribute scale is missing",
    ),
    "an activation of another dtype": (
        "float[B,T,6] h, ",
        "double[B,T,6] h, ",
        "MatMul (h): output 0 (h): dtype DOUBLE, the inputs make it FLOAT",
    ),
    "an input of a dtype it does not take": (
        "float[B,T,8] before",
        "int64[B,T,8] before",
        "AddRMSNorm (n): input residual (before): dtype INT64, expected FLOAT",
    ),
    "a weight of a dtype it does not take": (
        "h = MatMul(n, w)",
        "h = ai.deltaport.Linear(n, ids)",
        "Linear (h): input weight (ids): dtype INT64, expected FLOAT or FLOAT16 or BFLOAT16",
    ),
    "sizes that do not agree": (
        "float[B,T,8] before",
        "float[B,T,7] before",
        "AddRMSNorm (n): input residual (before): axis 2 is 7, expected H = 8",
    ),
    "a rank too few": (
        "float[8] scale",
        "float scale",
        "AddRMSNorm (n): input scale (scale): shape [], expected [H]",
    ),
    "a size that is not twice another": (
        "float[B,T,3] s>",
        "float[B,T,4] s>",
        "SwiGLU (s): input gate_up (h): axis 2 is 6, expected 2*I = 8",
    ),
    # ONNX's, against its schemas.
    "no standard op": (
        "MatMul(n, w)",
        "MutMal(n, w)",
        "MutMal (h): is no op of opset 24",
    ),
    "a deprecated op": (
        "MatMul(n, w)",
        "Upsample(n, w)",
        "Upsample (h): is deprecated in opset 24",
    ),
    "a standard op with an input too many": (
        "MatMul(n, w)",
        "MatMul(n, w, w)",
        "MatMul (h): has 3 inputs, expected 2 to 2",
    ),
    "a standard op with an output too many": (
        "h = MatMul(n, w)",
        "h, hh = MatMul(n, w)",
        "MatMul (h): has 2 outputs, expected 1 to 1",
    ),
    "a standard op with an input left out": (
        "MatMul(n, w)",
        "MatMul(, w)",
        "MatMul (h): input 0 is missing",
    ),
    "a standard op with an unknown attribute": (
        "MatMul(n, w)",
        "MatMul<axis: int = 1>(n, w)",
        "MatMul (h): attribute axis is unknown",
    ),
    "a standard op with an attribute of another type": (
        "MatMul(n, w)",
        "Softmax<axis: float = 1.0>(n)",
        "Softmax (h): attribute axis is FLOAT, expected INT",
    ),
    "a standard op without a required attribute": (
        "MatMul(n, w)",
        "Concat(n, n)",
        "Concat (h): attribute axis is missing",
    ),
    "inputs that do not fit": (
        "MatMul(n, w)",
        "MatMul(n, v)",
        "MatMul (h): [ShapeInferenceError] Incompatible dimensions for matrix multiplication",
    ),
    "a shape that is not what the inputs make": (
        "float[B,T,6] h",
        "float[B,T,4] h",
        "MatMul (h): output 0 (h): shape [B,T,4], the inputs make it [B,T,6]",
    ),
    "a rank that is not what the inputs make": (
        "float[B,T,6] h",
        "float[T,6] h",
        "MatMul (h): output 0 (h): shape [T,6], the inputs make it [B,T,6]",
    ),
    # onnxruntime's, against our table.
    "no contrib op we know": (
        "com.microsoft.GatedRMSNorm",
        "com.microsoft.GatedFlatNorm",
        "GatedFlatNorm (y): com.microsoft.GatedFlatNorm is no op we know",
    ),
    "a contrib op with an input too few": (
        "(s, v, s)",
        "(s, v)",
        "GatedRMSNorm (y): has 2 inputs, expected 3 to 3",
    ),
    "a contrib op with an output too many": (
        "y = com",
        "y, t = com",
        "GatedRMSNorm (y): has 2 outputs, expected 1 to 1",
    ),
    "a contrib op with an input left out": (
        "(s, v, s)",
        "(s, , s)",
        "GatedRMSNorm (y): input 1 is missing",
    ),
    "a contrib op with an unknown attribute": (
        "activation: string",
        "deactivation: string",
        "GatedRMSNorm (y): attribute deactivation is unknown",
    ),
    "a contrib op with an attribute of another type": (
        'activation: string = "silu"',
        "activation: int = 3",
        "GatedRMSNorm (y): attribute activation is INT, expected STRING",
    ),
    "a contrib op without a required attribute": (
        VECTOR,
        VECTOR + "\no, k = com.microsoft.LinearAttention(n, n, n)",
        "LinearAttention (o): attribute q_num_heads is missing",
    ),
    "a contrib op with a dtype it does not take": (
        "(s, v, s)",
        "(ids, v, ids)",
        "GatedRMSNorm (y): input 0 (ids): dtype INT64, expected FLOAT or FLOAT16 or BFLOAT16",
    ),
    "a contrib op with two dtypes for one": (
        "(s, v, s)",
        "(s, v, half)",
        "GatedRMSNorm (y): input 2 (half): dtype FLOAT16, other inputs make it FLOAT",
    ),
    "a contrib op's output of another shape": (
        "(float[B,T,3] y,",
        "(float[B,T,5] y,",
        "GatedRMSNorm (y): output 0 (y): shape [B,T,5], the inputs make it [B,T,3]",
    ),
    "a contrib op's output of another dtype": (
        "(float[B,T,3] y,",
        "(float16[B,T,3] y,",
        "GatedRMSNorm (y): output 0 (y): dtype FLOAT16, the inputs make it FLOAT",
    ),
}


@pytest.mark.parametrize(("sound", "wrong", "message"), CALLS.values(), ids=CALLS)
def test_calls(sound: str, wrong: str, message: str) -> None:
    text = SOUND.replace("float[3] v)", "float[3] v, int64[B,T,3] ids, float16[B,T,3] half)")
    VerifyGraph()(parsed(text))
    assert text.count(sound) == 1
    assert fault_of(parsed(text.replace(sound, wrong))) == message


def test_what_is_declared_nowhere_must_be_inferred() -> None:
    text = SOUND.replace(", float[B,T,3] s>", ">")
    assert fault_of(parsed(text)) == "SwiGLU (s): output y (s): has no dtype"
    text = SOUND.replace("float[B,T,6] h, ", "")
    model = parsed(text)
    VerifyGraph()(model)  # ONNX tells what MatMul gives


def test_an_output_that_is_not_wanted_needs_no_type() -> None:
    text = SOUND.replace("n, sum =", "n, =").replace(", float[B,T,8] sum)", ")")
    text = text.replace("n, =", 'n, "" =')
    VerifyGraph()(parsed(text))


def test_nor_does_one_of_a_standard_op() -> None:
    text = """
        g (float[4,6] x, float[6] scale) => (float[4,6] y, float[4,1] inverse)
        { y, "", inverse = LayerNormalization(x, scale) }
    """
    VerifyGraph()(parsed(text, {}))
    assert fault_of(parsed(text.replace("float[4,1]", "float[4,2]"), {})) == (
        "LayerNormalization (y): output 2 (inverse): shape [4,2], the inputs make it [4,1]"
    )


def test_what_gives_no_tensor_is_found() -> None:
    text = """
        g (float[4,6] x) => (float[6] y)
        <int64 first = {0}>
        { all = SplitToSequence(x)  y = SequenceAt(all, first) }
    """
    assert fault_of(parsed(text, {})).startswith("SplitToSequence (all): output 0 (all): ")


def test_what_a_constant_says_counts_for_shapes() -> None:
    text = """
        g (float[4,6] x) => (float[8,3] y) <int64[2] target = {8, 3}> { y = Reshape(x, target) }
    """
    VerifyGraph()(parsed(text, {}))
    assert fault_of(parsed(text.replace("[8,3] y", "[8,4] y"), {})) == (
        "Reshape (y): output 0 (y): shape [8,4], the inputs make it [8,3]"
    )
    assert fault_of(parsed(text.replace("{8, 3}", "{7, 3}"), {})).startswith("Reshape (y): ")


def test_two_calls_alike_but_for_their_constant_are_two() -> None:
    text = """
        g (float[4,6] x) => (float[8,3] y, float[3,8] z)
        <int64[2] one = {8, 3}, int64[2] two = {3, 8}>
        { y = Reshape(x, one) z = Reshape(x, two) }
    """
    VerifyGraph()(parsed(text, {}))


def test_a_value_must_be_a_tensor() -> None:
    model = parsed()
    model.graph.inputs[0].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    assert fault_of(model).startswith("graph input (x): is Sequence")


def test_a_foreign_domain_that_is_imported_is_still_none_of_ours() -> None:
    model = parsed(SOUND.replace("h = MatMul(n, w)", "h = somewhere.MatMul(n, w)"))
    model.graph.opset_imports["somewhere"] = 1
    assert fault_of(model) == "MatMul (h): domain somewhere is none of ours"


# Structure: what text cannot say, done to the graph.


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


# Weights, against their recipes.


def recipe_of(model: ir.Model, name: str = "w") -> RecipeTensor:
    tensor = model.graph.initializers[name].const_value
    assert isinstance(tensor, RecipeTensor)
    return tensor


def another_name(model: ir.Model) -> None:
    recipe_of(model).name = "other"


def another_dtype(model: ir.Model) -> None:
    model.graph.initializers["w"].dtype = ir.DataType.FLOAT16


def another_tensor_dtype(model: ir.Model) -> None:
    recipe_of(model)._dtype = ir.DataType.FLOAT16


def another_shape(model: ir.Model) -> None:
    model.graph.initializers["w"].shape = ir.Shape([6, 8])


def no_shape(model: ir.Model) -> None:
    model.graph.initializers["w"].shape = None


def another_tensor_shape(model: ir.Model) -> None:
    recipe_of(model)._shape = ir.Shape([6, 8])


def parts_that_do_not_fit(model: ir.Model) -> None:
    recipe = Concat((weight("a", 3, 6), weight("b", 5, 6)), 0)
    object.__setattr__(recipe, "axis", 1)
    recipe_of(model).recipe = recipe


def a_part_that_lies(model: ir.Model) -> None:
    recipe = Shift(Shift(weight("a", 8, 6), 1.0), 1.0)
    object.__setattr__(recipe.inner, "shape", (6, 8))
    recipe_of(model).recipe = recipe


def the_whole_lies(model: ir.Model) -> None:
    recipe = Shift(weight("a", 6, 8), 1.0)
    object.__setattr__(recipe, "shape", (8, 6))
    recipe_of(model).recipe = recipe


WEIGHT_FAULTS = {
    "name": (
        another_name,
        "weight w: name of the recipe is other, the graph says w",
    ),
    "dtype": (
        another_dtype,
        "weight w: dtype of the recipe is FLOAT, the graph says FLOAT16",
    ),
    "tensor dtype": (
        another_tensor_dtype,
        "weight w: tensor dtype of the recipe is FLOAT16, the graph says FLOAT",
    ),
    "shape": (
        another_shape,
        "weight w: shape of the recipe is (8, 6), the graph says (6, 8)",
    ),
    "no shape": (
        no_shape,
        "weight w: shape of the recipe is (8, 6), the graph says None",
    ),
    "tensor shape": (
        another_tensor_shape,
        "weight w: tensor shape of the recipe is (6, 8), the graph says (8, 6)",
    ),
    "parts that do not fit": (
        parts_that_do_not_fit,
        "weight w: recipe is not well-typed: ",
    ),
    "a part that lies": (
        a_part_that_lies,
        "weight w: recipe ",
    ),
    "the whole lies": (
        the_whole_lies,
        "weight w: recipe shift(a:float32[6,8], 1.0) is not what its fields make",
    ),
}


@pytest.mark.parametrize(("edit", "message"), WEIGHT_FAULTS.values(), ids=WEIGHT_FAULTS)
def test_weights(edit: Edit, message: str) -> None:
    model = parsed()
    edit(model)
    assert fault_of(model).startswith(message)


# Functions, against the definitions they carry out.


def with_bodies() -> ir.Model:
    model = parsed()
    AttachFunctionBodies()(model)
    VerifyGraph()(model)
    return model


def function_of(model: ir.Model) -> ir.Function:
    return model.functions["ai.deltaport", "AddRMSNorm", ""]


def test_a_function_with_other_inputs() -> None:
    model = with_bodies()
    function_of(model).inputs[1].name = "rest"
    assert fault_of(model) == (
        "function AddRMSNorm: inputs are ['x', 'rest', 'scale'], "
        "expected ['x', 'residual', 'scale']"
    )


def test_a_function_with_other_outputs() -> None:
    model = with_bodies()
    outputs = function_of(model).outputs
    outputs.pop()
    assert fault_of(model) == "function AddRMSNorm: outputs are ['y'], expected ['y', 'sum']"


def test_a_function_with_other_attributes() -> None:
    model = with_bodies()
    del function_of(model).attributes["norm_eps"]
    assert fault_of(model) == "function AddRMSNorm: attributes are [], expected ['norm_eps']"


def test_a_function_of_no_definition() -> None:
    model = with_bodies()
    function = model.functions.pop(("ai.deltaport", "AddRMSNorm", ""))
    function.name = "AddFlatNorm"
    model.functions["ai.deltaport", "AddFlatNorm", ""] = function
    assert fault_of(model) == "ai.deltaport.AddFlatNorm has no definition"


def test_a_function_of_another_domain_is_its_own_affair() -> None:
    model = with_bodies()
    function = model.functions.pop(("ai.deltaport", "AddRMSNorm", ""))
    function.domain, function.name = "somewhere", "Anything"
    model.functions["somewhere", "Anything", ""] = function
    VerifyGraph()(model)
