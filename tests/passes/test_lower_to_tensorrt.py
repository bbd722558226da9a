"""Our ops become what TensorRT's parser takes, in the dtype the graph computes in."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.graph_pass import PreconditionError
from deltaport.graph_passes.lower.lower_precision import LowerPrecision
from deltaport.graph_passes.lower.lower_to_tensorrt import PLUGINS, LowerToTensorrt
from deltaport.graph_passes.lower.tensorrt import EXPANSIONS
from deltaport.graph_passes.pipeline import Pipeline
from deltaport.graph_passes.quantize.quantize_to_qdq import QuantizeToQdq
from deltaport.graph_passes.quantize.weight_tags import set_format
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.graph_passes.rewriting import recipe_of
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from deltaport.state_layout import StateLayout, StateTensor
from deltaport.weight_format import WeightFormat
from tests.passes.graph_text import parse_graph
from tests.passes.small_decoder import small_decoder, weights_of
from tests.passes.test_lower_to_contrib import CONV_STATE, CONVOLUTION, parse, weight

HALF = ir.DataType.BFLOAT16


def lowered(dtype: str, *, plugins: bool = False) -> ir.Model:
    model = small_decoder(weights_of(np.dtype(dtype)))
    passes = (LowerPrecision(own_ops=True), VerifyGraph(), LowerToTensorrt(plugins))
    Pipeline((*passes, EliminateDeadCode(), VerifyGraph()))(model)
    return model


def values(model: ir.Model) -> dict[str, ir.Value]:
    found = [value for node in model.graph for value in node.outputs]
    return {str(value.name): value for value in (*model.graph.inputs, *found)}


def test_every_op_has_an_expansion() -> None:
    quantized = {name for name in DEFINITIONS if name.startswith("Quantized")}
    assert set(EXPANSIONS) == set(DEFINITIONS) - quantized
    assert set(PLUGINS) - set(EXPANSIONS) == {name for name in quantized if "MoE" in name}


def test_the_rule_is_float32_and_all_around_it_is_not() -> None:
    model = lowered("bfloat16")
    (scan,) = (node for node in model.graph if node.op_type == "Scan")
    assert {value.dtype for value in (*scan.inputs, *scan.outputs) if value} == {ir.DataType.FLOAT}
    (attention,) = (node for node in model.graph if node.op_type == "TRT_Attention")
    assert attention.attributes["causal_kind"].as_string() == "lower_right"
    q, k, v, *none, columns = attention.inputs
    assert [value and value.dtype for value in (q, k, v)] == [HALF] * 3
    assert none == [None, None]
    assert columns is not None
    assert columns.dtype == ir.DataType.INT32
    assert [row.dtype for row in layout_of(model)] == [
        "bfloat16",
        "float32",
        "bfloat16",
        "bfloat16",
    ]
    assert values(model)["logits"].dtype == ir.DataType.FLOAT
    assert DOMAIN not in model.graph.opset_imports


def test_caches_are_updated_where_they_lie_and_nothing_else_is() -> None:
    updates = {row.kind: row.update for row in layout_of(lowered("float32"))}
    assert updates == {"conv": "swap", "recurrent": "swap", "kv": "in_place"}


def test_with_plugins_all_state_is_updated_where_it_lies() -> None:
    model = lowered("float32", plugins=True)
    assert {row.update for row in layout_of(model)} == {"in_place"}


def test_plugins_are_calls_that_say_what_they_are() -> None:
    model = lowered("bfloat16", plugins=True)
    calls = [node for node in model.graph if node.domain == DOMAIN]
    assert {node.op_type for node in calls} <= set(PLUGINS)
    assert len(calls) >= 2
    for node in calls:
        definition = DEFINITIONS[node.op_type]
        assert set(node.attributes) == {
            *definition.attributes,
            "plugin_namespace",
            "plugin_version",
        }
        assert node.attributes["plugin_namespace"].as_string() == DOMAIN
        assert node.attributes["plugin_version"].as_string() == "1"
        for port, value in zip(definition.inputs, node.inputs, strict=True):
            assert value is not None
            if port.dtype in ("float", "T"):
                stays = port.name in definition.float32
                assert value.dtype == (ir.DataType.FLOAT if stays else HALF), port.name


@pytest.mark.parametrize("plugins", [False, True])
def test_a_second_run_changes_nothing(plugins: bool) -> None:
    model = lowered("bfloat16", plugins=plugins)
    assert not LowerToTensorrt(plugins)(model).modified


def test_names_inside_subgraphs_are_those_of_one_graph() -> None:
    """A parser may keep all in one table."""
    model = lowered("float32")
    inner = [
        str(value.name)
        for node in model.graph
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.GRAPH
        for each in attribute.as_graph()
        for value in each.outputs
    ]
    assert inner
    assert len({*inner, *values(model)}) == len(inner) + len(values(model))


def test_products_transpose_weights_that_stay_as_they_are_stored() -> None:
    """Behind other nodes, or in a recipe's other order, TensorRT-RTX may keep them twice."""
    text = (
        "g (float[B,T,40] x, float[20,40] w) => (float[B,T,20] y) { y = ai.deltaport.Linear(x, w) }"
    )
    model = parse(text, [weight("w", 20, 40)])
    LowerToTensorrt()(model)
    VerifyGraph()(model)
    assert [each.op_type for each in model.graph] == [
        "Reshape",
        "Gemm",
        "Shape",
        "Concat",
        "Reshape",
    ]
    (product,) = (node for node in model.graph if node.op_type == "Gemm")
    assert product.inputs[1] is model.graph.initializers["w"]
    assert recipe_of(product.inputs[1]) == weight("w", 20, 40)


MIXTURE = """g (int64[B,T] ids, bfloat16[50,40] t, float[B,T,4] logits, bfloat16[4,44,40] w,
    bfloat16[4,40,22] down, bfloat16[1,40] sg, bfloat16[66,40] sgu, bfloat16[40,33] sd, int64[B] n,
    float[slots,3,6] c0) => (float[B,T,40] y, float[slots,3,6] c1)
    <bfloat16[B,T,40] rows, float[B,T,40] x> {
    c1 = Identity(c0)
    rows = Gather(t, ids)
    x = Cast<to = 1>(rows)
    y = ai.deltaport.SharedExpertMoE<top_k = 2>(x, logits, w, down, sg, sgu, sd, n)
}"""
SHAPES = {"t": (50, 40), "w": (4, 44, 40), "down": (4, 40, 22), "sg": (1, 40)}
SHAPES |= {"sgu": (66, 40), "sd": (40, 33)}
WINDOW = StateTensor(0, "conv", "c0", "c1", ("slots", 3, 6), "float32", "swap", True)


def quantized_mixture(dtype: str) -> ir.Model:
    stored = np.dtype(ml_dtypes.bfloat16)
    weights = {name: Source(name, dims, stored) for name, dims in SHAPES.items()}
    model = parse_graph(MIXTURE, weights)
    set_layout(model, StateLayout((WINDOW,)))
    for name in ("w", "down", "sgu", "sd"):
        set_format(model.graph.initializers[name], WeightFormat(4, 64, name == "sd"))
    assert QuantizeToQdq(plugins=True)(model).modified
    Pipeline((LowerPrecision(dtype, own_ops=True), VerifyGraph()))(model)
    return model


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_plugins_take_codes_as_int8_and_scales_as_they_are(dtype: str) -> None:
    model = quantized_mixture(dtype)
    assert LowerToTensorrt(plugins=True)(model).modified
    Pipeline((EliminateDeadCode(), VerifyGraph()))(model)
    assert not LowerToTensorrt(plugins=True)(model).modified
    (call,) = (node for node in model.graph if node.domain == DOMAIN)
    assert call.op_type == "QuantizedSharedExpertMoE"
    half, bfloat16 = ir.DataType[dtype.upper()], ir.DataType.BFLOAT16
    ports = {"uint8": ir.DataType.INT8, "bfloat16": bfloat16, "int64": ir.DataType.INT64}
    for port, value in zip(DEFINITIONS[call.op_type].inputs, call.inputs, strict=True):
        assert value is not None
        assert value.dtype == ports.get(port.dtype, half), port.name
        recipe = recipe_of(value)
        if port.dtype in ("uint8", "bfloat16"):
            assert recipe is not None
            kinds = [part.kind for part in recipe.walk() if not isinstance(part, Source)]
            assert kinds[0] == "asint8" or port.dtype == "bfloat16"
            assert "cast" not in kinds
    assert [value.dtype for value in call.outputs] == [half]


def test_codes_are_int8_in_calls_of_plugins_and_there_alone() -> None:
    model = quantized_mixture("bfloat16")
    call = next(node for node in model.graph if node.domain == DOMAIN)
    call.attributes["plugin_namespace"] = ir.AttrString("plugin_namespace", DOMAIN)
    with pytest.raises(PassError, match=r"gate_up \(w.codes\): dtype UINT8, expected INT8"):
        VerifyGraph()(model)
    LowerToTensorrt(plugins=True)(model)
    for name in ("plugin_namespace", "plugin_version"):
        del call.attributes[name]
    with pytest.raises(PassError, match=r"gate_up \(w.codes\): dtype INT8, expected UINT8"):
        VerifyGraph()(model)


def test_codes_that_are_no_weight_are_refused() -> None:
    text = """g (float[B,T,16] x, float[B,T,2] logits, uint8[2,2,1,4,64] w, bfloat16[2,2,1,1,16] ws,
        uint8[2,1,1,4,64] d, bfloat16[2,1,1,1,16] ds, int64[B] n) => (float[B,T,16] y) {
        y = ai.deltaport.QuantizedMoE<top_k = 1, inner = 16>(x, logits, w, ws, d, ds, n)
    }"""
    with pytest.raises(PassError, match="gate_up is w, expected a weight"):
        LowerToTensorrt(plugins=True)(parse_graph(text, {}))


def test_another_opset_is_refused() -> None:
    model = parse(CONVOLUTION, [weight("w", 6, 4)], [CONV_STATE], opset=23)
    with pytest.raises(PreconditionError, match="graph is opset 23, expansions are opset 24"):
        LowerToTensorrt()(model)


def test_an_op_without_expansion_is_refused() -> None:
    text = """g (float[batch,tokens,32] x, uint8[1,1,4,64] codes, bfloat16[1,1,1,16] scales)
        => (float[batch,tokens,16] y) { y = ai.deltaport.QuantizedLinear<N = 16>(x, codes, scales) }
    """
    with pytest.raises(PassError, match="QuantizedLinear has no expansion"):
        LowerToTensorrt()(parse_graph(text, {}))
