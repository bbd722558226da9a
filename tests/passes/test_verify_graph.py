"""Each way in which a call can be wrong is found, and told by node, value, found and expected."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from tests.passes.graph_text import print_graph
from tests.passes.small_decoder import small_decoder, weights_of
from tests.passes.sound_graph import SOUND, VECTOR, fault_of, parsed


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
