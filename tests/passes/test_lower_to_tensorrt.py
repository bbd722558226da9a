"""Our ops become what TensorRT's parser takes, in the dtype the graph computes in."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.decoder_layout import layout_of
from deltaport.graph_passes.graph_pass import PreconditionError
from deltaport.graph_passes.lower.lower_precision import LowerPrecision
from deltaport.graph_passes.lower.lower_to_tensorrt import PLUGINS, LowerToTensorrt
from deltaport.graph_passes.lower.tensorrt import EXPANSIONS
from deltaport.graph_passes.pipeline import Pipeline
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
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
    assert set(PLUGINS) < set(EXPANSIONS)


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
