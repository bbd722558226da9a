"""Weights become codes and scales that ONNX's own op makes weights of again."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from deltaport.errors import PassError
from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.lower.lower_precision import LowerPrecision
from deltaport.graph_passes.lower.lower_to_tensorrt import LowerToTensorrt
from deltaport.graph_passes.quantize.code_layout import matrix_of_tiles
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.graph_passes.quantize.quantize_to_qdq import QuantizeToQdq
from deltaport.graph_passes.quantize.quantize_weights import QuantizeWeights
from deltaport.graph_passes.quantize.weight_tags import check_formats, set_format
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from deltaport.numerics import Quantity
from deltaport.state_layout import StateLayout
from deltaport.weight_format import FP8, WeightFormat
from tests.kernels.op_runner import assert_close
from tests.oracles.fp8_weights import fp8_rounded
from tests.passes.expansion_runner import run_lowered, session
from tests.passes.graph_text import lines, parse_graph, print_graph, weight

LINEAR = """g (float[B,T,64] x, float[20,64] w) => (float[B,T,20] y) {
    y = ai.deltaport.Linear(x, w)
}"""
BF16 = np.dtype(ml_dtypes.bfloat16)


def quantized(text: str, weights: dict[str, Recipe], formats: dict[str, WeightFormat]) -> ir.Model:
    model = parse_graph(text, weights)
    set_layout(model, StateLayout(()))
    for name, format_ in formats.items():
        set_format(model.graph.initializers[name], format_)
    assert QuantizeToQdq()(model).modified
    assert not QuantizeToQdq()(model).modified
    check_formats(model.graph)
    EliminateDeadCode()(model)
    VerifyGraph()(model)
    return model


def test_a_product() -> None:
    model = quantized(LINEAR, {"w": weight("w", 20, 64)}, {"w": WeightFormat(4)})
    codes, scales = (f"{kind}(w:float32[20,64], bits=4, block=32, numbers=1)" for kind in KINDS)
    assert print_graph(model.graph) == lines(f"""
        w.codes [20, 64] = rowcodes({codes})
        w.scales [20, 2] = cast(rowscales({scales}), float32)
        w.dequantized = DequantizeLinear(w.codes, w.scales) axis=1 block_size=32
        y = ai.deltaport.Linear(x, w.dequantized)""")
    assert model.graph.initializers["w.codes"].dtype == ir.DataType.INT4
    LowerToTensorrt()(model)
    VerifyGraph()(model)
    assert [node.op_type for node in model.graph] == LOWERED


KINDS = ("codes", "scales")
LOWERED = ["DequantizeLinear", "Reshape", "Gemm", "Shape", "Concat", "Reshape"]
"""No ``Transpose``, for whose sake TensorRT-RTX would keep codes twice."""


def test_a_product_in_fp8() -> None:
    """A row has one scale; it needs no block, and so no padding."""
    text = LINEAR.replace("64]", "40]")
    model = quantized(text, {"w": weight("w", 20, 40)}, {"w": FP8})
    assert print_graph(model.graph) == lines("""
        w.codes [20, 40] = fp8codes(w:float32[20,40])
        w.scales [20] = cast(fp8scales(w:float32[20,40]), float32)
        w.dequantized = DequantizeLinear(w.codes, w.scales) axis=0
        y = ai.deltaport.Linear(x, w.dequantized)""")
    assert model.graph.initializers["w.codes"].dtype == ir.DataType.FLOAT8E4M3FN
    LowerToTensorrt()(model)
    VerifyGraph()(model)
    assert [node.op_type for node in model.graph] == LOWERED


def test_no_kernel_of_ours_reads_fp8() -> None:
    for text, shapes in ((LINEAR, {"w": (20, 64)}), (MIXTURE, SHAPES)):
        model = parse_graph(text, {name: weight(name, *shape) for name, shape in shapes.items()})
        for name in {"w", "down", "sgu", "sd"} & shapes.keys():
            set_format(model.graph.initializers[name], FP8)
        with pytest.raises(PassError, match="w is to be fp8, which none of our kernels reads"):
            QuantizeWeights()(model)


def test_inputs_that_fill_no_block() -> None:
    text = LINEAR.replace("64]", "40]")
    model = quantized(text, {"w": weight("w", 20, 40)}, {"w": WeightFormat(8, 64)})
    assert [list(model.graph.initializers[f"w.{kind}"].shape or ()) for kind in KINDS] == [
        [20, 64], [20, 1]
    ]  # fmt: skip
    assert [node.op_type for node in model.graph] == ["DequantizeLinear", "Slice", "Linear"]


def test_a_head_tied_to_its_table() -> None:
    """The table stays as it is stored."""
    text = """g (int64[B,T] ids, float[50,64] w) => (float[B,T,50] y) <float[B,T,64] rows> {
        rows = Gather(w, ids)
        y = ai.deltaport.Linear(rows, w)
    }"""
    model = quantized(text, {"w": weight("w", 50, 64)}, {"w": WeightFormat(4)})
    assert set(model.graph.initializers) == {"w", "w.codes", "w.scales"}
    assert [[str(value and value.name) for value in node.inputs] for node in model.graph] == [
        ["w", "ids"], ["w.codes", "w.scales"], ["rows", "w.dequantized"]
    ]  # fmt: skip


def test_a_table_alone_is_left_alone() -> None:
    text = "g (int64[B,T] ids, float[50,64] w) => (float[B,T,64] y) { y = Gather(w, ids) }"
    model = quantized(text, {"w": weight("w", 50, 64)}, {"w": WeightFormat(4, 32, True)})
    assert print_graph(model.graph) == lines("""
        w [50, 64] = w:float32[50,64]
        y = Gather(w, ids)""")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_is_dequantized_in_the_dtype_of_activations(dtype: str) -> None:
    text = """g (int64[B,T] ids, bfloat16[50,64] t, bfloat16[20,64] w) => (float[B,T,20] y)
        <bfloat16[B,T,64] rows, float[B,T,64] x> {
        rows = Gather(t, ids)
        x = Cast<to = 1>(rows)
        y = ai.deltaport.Linear(x, w)
    }"""
    weights: dict[str, Recipe] = {
        "t": Source("t", (50, 64), BF16),
        "w": Source("w", (20, 64), BF16),
    }
    model = quantized(text, weights, {"w": WeightFormat(4)})
    LowerPrecision(dtype, own_ops=True)(model)
    LowerToTensorrt()(model)
    VerifyGraph()(model)
    kind = ir.DataType[dtype.upper()]
    found = {value.dtype for node in model.graph for value in node.outputs if value.name != "y"}
    assert found == {kind, ir.DataType.INT64}  # which shapes are
    scales = model.graph.initializers["w.scales"]
    assert scales.dtype == kind
    assert ("cast" in repr(scales.const_value)) == (dtype == "float16")


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
def test_the_dtype_matrices_are_stored_in_is_that_before_they_were_quantized(stored: str) -> None:
    """Nearly all elements are those of the quantized matrix, in whatever dtype its codes are."""
    kind = "float" if stored == "float32" else stored
    text = f"""g (int64[B,T] ids, float[5,640] t, {kind}[64,640] w)
        => (float[B,T,64] y) <float[B,T,640] x> {{
        x = Gather(t, ids)
        y = ai.deltaport.Linear(x, w)
    }}"""
    dtype = np.dtype(np.float32) if stored == "float32" else BF16
    weights = {"t": weight("t", 5, 640), "w": Source("w", (64, 640), dtype)}
    model = quantized(text, weights, {"w": WeightFormat(8)})
    assert LowerPrecision(own_ops=True)(model).modified == (stored == "bfloat16")
    found = next(node for node in model.graph if node.op_type == "DequantizeLinear")
    assert str(found.outputs[0].dtype) == {"float32": "FLOAT", "bfloat16": "BFLOAT16"}[stored]


REFUSED = {
    "another op": ("y = MatMul(x, w)", WeightFormat(4), "and MatMul reads it, .* leave its role"),
    "the weight as activation": (
        "y = ai.deltaport.Linear(w, x)", WeightFormat(4), "and Linear reads it, .* leave its role"
    ),
    "another axis": (
        "y = Gather<axis = 1>(w, x)", WeightFormat(4), "and Gather reads it, .* leave its role"
    ),
    "offsets": (
        "y = ai.deltaport.Linear(x, w)", WeightFormat(4, 32, True),
        "int4 block=32 asymmetric, and DequantizeLinear has no offsets of blocks; choose",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("node", "format_", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_weight_that_cannot_be_stored_so_is_named(
    node: str, format_: WeightFormat, problem: str
) -> None:
    text = LINEAR.replace("y = ai.deltaport.Linear(x, w)", node)
    model = parse_graph(text, {"w": weight("w", 20, 64)})
    set_format(model.graph.initializers["w"], format_)
    with pytest.raises(PassError, match=f"^quantize-to-qdq: w is to be .*{problem}"):
        QuantizeToQdq()(model)


MIXTURE = """g (float[B,T,40] x, float[B,T,4] logits, float[4,44,40] w, float[4,40,22] down,
    float[1,40] sg, float[66,40] sgu, float[40,33] sd, int64[B] n) => (float[B,T,40] y) {
    y = ai.deltaport.SharedExpertMoE<top_k = 2>(x, logits, w, down, sg, sgu, sd, n)
}"""
SHAPES = {"w": (4, 44, 40), "down": (4, 40, 22), "sg": (1, 40), "sgu": (66, 40), "sd": (40, 33)}


def test_mixtures_of_a_backend_with_plugins_keep_codes_in_tiles() -> None:
    """All other products are dequantized."""
    text = MIXTURE.replace("int64[B] n", "float[20,40] o, int64[B] n").replace("y = ai", "z = ai")
    text = text.replace(",40] y) {", ",20] y) <float[B,T,40] z> {")
    text = text.replace("\n}", "\n    y = ai.deltaport.Linear(z, o)\n}")
    weights: dict[str, Recipe] = {name: weight(name, *shape) for name, shape in SHAPES.items()}
    model = parse_graph(text, weights | {"o": weight("o", 20, 40)})
    set_layout(model, StateLayout(()))
    for name in ("w", "down", "sgu", "sd"):
        set_format(model.graph.initializers[name], WeightFormat(4, 32, name == "w"))
    set_format(model.graph.initializers["o"], WeightFormat(8))
    assert QuantizeToQdq(plugins=True)(model).modified
    assert not QuantizeToQdq(plugins=True)(model).modified
    check_formats(model.graph)
    VerifyGraph()(model)
    assert [node.op_type for node in model.graph] == [
        "QuantizedSharedExpertMoE", "DequantizeLinear", "Slice", "Linear"
    ]  # fmt: skip
    kinds = {str(name): value.dtype for name, value in model.graph.initializers.items()}
    assert (kinds["w.codes"], kinds["o.codes"]) == (ir.DataType.UINT8, ir.DataType.INT8)


def test_a_mixture_of_which_only_some_experts_have_a_format_is_refused() -> None:
    weights: dict[str, Recipe] = {name: weight(name, *shape) for name, shape in SHAPES.items()}
    model = parse_graph(MIXTURE, weights)
    for name in ("w", "down"):
        set_format(model.graph.initializers[name], WeightFormat(4))
    with pytest.raises(
        PassError, match=r"w is to be int4 .*, and SharedExpertMoE reads it, .* both$"
    ):
        QuantizeToQdq(plugins=True)(model)


def replaced(array: NDArray[Any], format_: WeightFormat | None) -> NDArray[Any]:
    """A weight as kernels unpack it."""
    if format_ is None:
        return array
    rows, inputs = array.shape[-2:]
    matrices = array.reshape(-1, rows, inputs)
    if format_ == FP8:
        return np.stack([*map(fp8_rounded, matrices)]).astype(np.float32).reshape(array.shape)
    parts = [matrix_of_tiles(*quantize_rows(each, format_))[:rows, :inputs] for each in matrices]
    return np.stack(parts).reshape(array.shape)


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize(
    "formats",
    [
        {name: WeightFormat(4) for name in ("w", "down", "sgu", "sd")},
        {"w": WeightFormat(4, 64), "down": WeightFormat(8), "sd": WeightFormat(8, 128)},
        {"sgu": WeightFormat(8)},
        {"w": FP8, "down": WeightFormat(4), "sgu": FP8},
    ],
)
def test_a_mixture_computes_with_dequantized_weights(
    formats: dict[str, WeightFormat], level: str
) -> None:
    """One token, which gathers experts, and several, which go through all of them."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    weights: dict[str, Recipe] = {name: weight(name, *shape) for name, shape in SHAPES.items()}
    plain = parse_graph(MIXTURE, weights)
    set_layout(plain, StateLayout(()))
    runners = []
    for model, given in (
        (quantized(MIXTURE, weights, formats), arrays),
        (plain, {name: replaced(each, formats.get(name)) for name, each in arrays.items()}),
    ):
        LowerToTensorrt()(model)
        VerifyGraph()(model)
        runners.append(session(model, given, level))
    for tokens in (1, 5):
        feeds = {
            "x": rng.normal(size=(1, tokens, 40)).astype(np.float32),
            "logits": rng.normal(size=(1, tokens, 4)).astype(np.float32),
            "n": np.array([tokens]),
        }
        (found,), (expected,) = (run_lowered(runner, feeds) for runner in runners)
        assert_close(found, expected, Quantity.OUTPUT)
