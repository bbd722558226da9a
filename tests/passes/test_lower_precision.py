"""Half precision where it serves, float32 where it must stay, casts in between."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from deltaport.errors import InputError
from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.graph_pass import PreconditionError
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.lower.lower_precision import LowerPrecision
from deltaport.graph_passes.lower.lower_to_contrib import LowerToContrib
from deltaport.graph_passes.pipeline import Pipeline
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.state_layout import StateLayout
from tests.oracles import Array
from tests.passes.expansion_runner import evaluated, run_lowered, session
from tests.passes.graph_text import parse_graph, print_graph
from tests.passes.small_decoder import ROWS, small_decoder, step, weights_of

HALVES = {
    "float16": (np.dtype(np.float16), ir.DataType.FLOAT16),
    "bfloat16": (np.dtype(ml_dtypes.bfloat16), ir.DataType.BFLOAT16),
}


def half_weight(name: str, *shape: int) -> Source:
    return Source(name, shape, np.dtype(np.float16))


def lowered(dtype: str, option: str = "auto") -> ir.Model:
    model = small_decoder(weights_of(np.dtype(dtype)))
    Pipeline((LowerToContrib(), LowerPrecision(option), EliminateDeadCode(), VerifyGraph()))(model)
    return model


def dtypes(model: ir.Model) -> dict[str, ir.DataType | None]:
    """Of all values, by name."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    return {str(value.name): value.dtype for value in values if value.name}


@pytest.mark.parametrize("half", HALVES)
def test_what_is_half_and_what_is_not(half: str) -> None:
    model = lowered(half)
    found, wanted = dtypes(model), HALVES[half][1]
    for name in ("embedded", "n0", "mixed", "out", "last", "c0", "c1", "k0", "k1", "v0", "v1"):
        assert found[name] == wanted, name
    for name in ("s0", "s1", "angle", "cos", "sin", "logits"):
        assert found[name] == ir.DataType.FLOAT, name
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, RecipeTensor):
            stays = value.name in ("A_log", "dt_bias")
            assert tensor.dtype == value.dtype == (ir.DataType.FLOAT if stays else wanted)
            assert tensor.recipe.shape == tuple(value.shape or ())
    assert [row.dtype for row in layout_of(model)] == [half, "float32", half, half]


def test_casts_stand_at_the_borders_once() -> None:
    names = {"FLOAT": 1, "FLOAT16": 10, "INT32": 6}
    lines = print_graph(lowered("float16").graph).splitlines()
    assert [line for line in lines if " = Cast(" in line] == [
        f"angle = Cast(positions) to={names['FLOAT']}",
        f"qkv.float32 = Cast(qkv) to={names['FLOAT']}",
        f"a.float32 = Cast(a) to={names['FLOAT']}",
        f"b.float32 = Cast(b) to={names['FLOAT']}",
        f"o0.read_out.float16 = Cast(o0.read_out) to={names['FLOAT16']}",
        f"cos.float16 = Cast(cos) to={names['FLOAT16']}",
        f"sin.float16 = Cast(sin) to={names['FLOAT16']}",
        f"o1.seqlens_k = Cast(o1.last_columns) to={names['INT32']}",
        f"o1.total_sequence_length = Cast(o1.longest) to={names['INT32']}",
        f"logits = Cast(logits.float16) to={names['FLOAT']}",
    ]
    recipes = [line for line in lines if line.startswith(("norm_0 ", "A_log ", "table ", "taps "))]
    assert recipes == [
        "table [20, 16] = table:float16[20,16]",
        "taps [40, 1, 4] = unsqueeze(taps:float16[40,4], axis=1)",
        "norm_0 [16] = cast(norm_0:float32[16], float16)",
        "A_log [2] = A_log:float32[2]",
    ]


def test_cosines_are_cast_once_for_several_readers() -> None:
    text = print_graph(lowered("float16").graph)
    assert text.count("cos.float16") == 3  # where it is made, and for queries and keys


def test_a_second_run_changes_nothing() -> None:
    model = lowered("bfloat16")
    before = print_graph(model.graph)
    for option in ("auto", "bfloat16"):
        assert not LowerPrecision(option)(model).modified
    assert print_graph(model.graph) == before


@pytest.mark.parametrize(("stored", "option"), [("float32", "auto"), ("float16", "float32")])
def test_nothing_is_to_do_for_float32(stored: str, option: str) -> None:
    model = small_decoder(weights_of(np.dtype(stored)))
    before = print_graph(model.graph)
    assert not LowerPrecision(option)(model).modified
    assert print_graph(model.graph) == before


def test_float32_weights_may_be_narrowed() -> None:
    """Weights that two nodes read become new ones, and of those there is one."""
    model = lowered("float32", "float16")
    lines = print_graph(model.graph).splitlines()
    assert "table.float16 [20, 16] = cast(table:float32[20,16], float16)" in lines
    assert not any(line.startswith("table [") for line in lines)
    assert sum("table.float16" in line for line in lines) == 3
    assert layout_of(model).tensors[0].dtype == "float16"


def test_the_dtype_of_most_elements_is_taken() -> None:
    arrays = weights_of(np.dtype(np.float32))
    for name in ("experts_in", "experts_out", "w_in"):  # 3008 of 5684 elements
        arrays[name] = arrays[name].astype(ml_dtypes.bfloat16)
    model = small_decoder(weights_of(np.dtype(np.float32)))
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, RecipeTensor) and arrays[name].dtype != np.float32:
            recipe = tensor.recipe
            value.const_value = RecipeTensor(
                type(recipe)(name, recipe.shape, np.dtype(ml_dtypes.bfloat16)), name
            )
            value.type = ir.TensorType(ir.DataType.BFLOAT16)
    LowerToContrib()(model)
    LowerPrecision()(model)
    assert layout_of(model).tensors[0].dtype == "bfloat16"


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InputError, match=r"lower-precision: option dtype: 'int4' is none of auto"):
        LowerPrecision("int4")


def test_ops_of_ours_are_refused() -> None:
    model = small_decoder(weights_of(np.dtype(np.float16)))
    with pytest.raises(PreconditionError, match=r"ai\.deltaport nodes; lower-to-contrib comes"):
        LowerPrecision()(model)


def test_another_half_precision_is_refused() -> None:
    with pytest.raises(PreconditionError, match=r"the graph is float16 already, not bfloat16"):
        LowerPrecision("bfloat16")(lowered("float16"))


def narrowed(text: str, *weights: Source) -> list[str]:
    """A graph without state, lowered to float16, as lines."""
    model = parse_graph(text, {weight.name: weight for weight in weights})
    set_layout(model, StateLayout(()))
    LowerToContrib()(model)
    assert LowerPrecision("float16")(model).modified
    VerifyGraph()(model)
    return print_graph(model.graph).splitlines()


def test_products_are_half_whoever_reads_them() -> None:
    lines = narrowed(
        """g (int64[batch,tokens] ids, float16[9,8] t, float16[12,8] wq, float16[1,8] wa,
            float[batch,tokens,1] b, float[1] A, float[1] d, float[batch,1,4,4] s, int64[batch] n)
            => (float[batch,tokens,4] o, float[batch,1,4,4] s1)
            <float16[batch,tokens,8] row, float[batch,tokens,8] x, float[batch,tokens,12] q,
             float[batch,tokens,1] a>
        {
            row = Gather(t, ids)
            x = Cast<to = 1>(row)
            q = ai.deltaport.Linear(x, wq)
            a = ai.deltaport.Linear(x, wa)
            o, s1 = ai.deltaport.GatedDeltaRule(q, a, b, A, d, s, n)
        }""",
        *(half_weight(name, *shape) for name, shape in (("t", (9, 8)), ("wq", (12, 8)))),
        half_weight("wa", 1, 8),
    )
    made = [line for line in lines if "MatMul(" in line or "Gather(" in line or "Cast(" in line]
    assert made == [
        "x = Gather(t, ids)",
        "q = MatMul(x, wq)",
        "a = MatMul(x, wa)",
        "q.float32 = Cast(q) to=1",
        "a.float32 = Cast(a) to=1",
    ]


def test_a_half_weight_makes_nothing_half() -> None:
    lines = narrowed(
        """g (int64[batch,1] p, float16[1] w) => (float[batch,1] c)
            <float[batch,1] f, float[1] wide, float[batch,1] angle>
        {
            f = Cast<to = 1>(p)
            wide = Cast<to = 1>(w)
            angle = Mul(f, wide)
            c = Cos(angle)
        }""",
        half_weight("w", 1),
    )
    assert lines == [
        "w [1] = cast(w:float16[1], float32)",
        "f = Cast(p) to=1",
        "angle = Mul(f, w)",
        "c = Cos(angle)",
    ]


def test_a_cast_to_an_output_stays() -> None:
    lines = narrowed(
        """g (int64[batch] ids, float16[9,8] t) => (float[batch,8] x, float[batch,8] y)
            <float16[batch,8] row>
        {
            row = Gather(t, ids)
            x = Cast<to = 1>(row)
            y = Relu(x)
        }""",
        half_weight("t", 9, 8),
    )
    assert lines == [
        "t [9, 8] = t:float16[9,8]",
        "row = Gather(t, ids)",
        "x = Cast(row) to=1",
        "y = Relu(x)",
    ]


@pytest.mark.parametrize("half", HALVES)
def test_types_agree(half: str) -> None:
    """ONNX infers the standard nodes, onnxruntime all; only a CPU kernel may be missing."""
    arrays = weights_of(HALVES[half][0])
    model = lowered(half)
    onnx.shape_inference.infer_shapes(evaluated(model, arrays), check_type=True, strict_mode=True)
    if half == "float16":
        session(model, arrays)  # onnxruntime itself puts casts where the CPU has no kernel
    else:
        with pytest.raises(NoKernel, match="Could not find an implementation for "):
            session(model, arrays)


@pytest.mark.parametrize(("B", "T"), [(1, 9), (3, 1)])
def test_half_precision_on_the_cpu(B: int, T: int) -> None:
    """Against the function bodies in float32: the same weights, so roundings alone differ."""
    arrays, feeds = weights_of(np.dtype(np.float16)), step(B, T)
    reference = small_decoder(arrays)
    AttachFunctionBodies()(reference)
    model = lowered("float16")
    ends = {row.input: np.dtype(row.dtype) for row in layout_of(model)}
    halved = {name: array.astype(ends.get(name, array.dtype)) for name, array in feeds.items()}
    rounded = {name: array.astype(feeds[name].dtype) for name, array in halved.items()}
    expected = run_lowered(session(reference, arrays), rounded)
    found = run_lowered(session(model, arrays), halved)
    names = [str(value.name) for value in model.graph.outputs]
    total = feeds["past_lengths"] + T
    for name, ours, theirs in zip(names, found, expected, strict=True):
        kind = Quantity.LOGITS if name == "logits" else Quantity.MODEL_STATE
        error = relative_error(*(used(name, array, total) for array in (ours, theirs)))
        assert error <= tolerance(kind, "float16"), name


def used(name: str, array: Array, total: Array) -> Array:
    """Caches as far as they are written."""
    caches = [row.output for row in ROWS if row.kind == "kv"]
    parts = (
        [row[:, :n] for row, n in zip(array, total, strict=False)] if name in caches else [array]
    )
    return np.concatenate([part.ravel() for part in parts])
