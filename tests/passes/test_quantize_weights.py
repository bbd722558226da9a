"""Weights get formats by their roles, and ops that read them in these."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.graph_pass import PreconditionError
from deltaport.graph_passes.quantize.choose_formats import ChooseFormats
from deltaport.graph_passes.quantize.quantize_weights import QuantizeWeights
from deltaport.graph_passes.quantize.weight_tags import (
    check_formats,
    format_of,
    same_format,
    set_format,
)
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from deltaport.weight_format import WeightFormat
from tests.passes.graph_text import lines, parse_graph, print_graph, weight

LINEAR = "g (float[B,T,40] x, float[20,40] w) => (float[B,T,20] y) {\n%s\n}"
CALL = "y = ai.deltaport.Linear(x, w)"
TABLE = """g (int64[B,T] ids, bfloat16[50,40] w) => (float[B,T,40] y) <bfloat16[B,T,40] rows> {
    rows = Gather(w, ids)
    y = Cast<to = 1>(rows)
}"""
HALF = {"w": Source("w", (50, 40), np.dtype(ml_dtypes.bfloat16))}


def quantized(text: str, weights: dict[str, Recipe], format_: WeightFormat) -> ir.Model:
    model = parse_graph(text, weights)
    set_format(model.graph.initializers["w"], format_)
    assert QuantizeWeights()(model).modified
    assert not QuantizeWeights()(model).modified
    EliminateDeadCode()(model)
    VerifyGraph()(model)
    return model


def test_a_product() -> None:
    model = quantized(LINEAR % CALL, {"w": weight("w", 20, 40)}, WeightFormat(4))
    assert print_graph(model.graph) == lines("""
        w.codes [2, 2, 4, 64] = codes(w:float32[20,40], bits=4, block=32, numbers=1)
        w.scales [2, 2, 1, 16] = scales(w:float32[20,40], bits=4, block=32, numbers=1)
        y = ai.deltaport.QuantizedLinear(x, w.codes, w.scales) N=20""")


def test_a_table_read_as_float32() -> None:
    model = quantized(TABLE, dict(HALF), WeightFormat(8, 64, True))
    assert print_graph(model.graph) == lines("""
        w.codes [4, 2, 8, 64] = codes(w:bfloat16[50,40], bits=8, block=64, numbers=2)
        w.scales [4, 1, 2, 16] = scales(w:bfloat16[50,40], bits=8, block=64, numbers=2)
        y = ai.deltaport.QuantizedGather(ids, w.codes, w.scales) width=40""")


def test_a_head_tied_to_its_table() -> None:
    text = """g (int64[B,T] ids, float[50,40] w) => (float[B,T,50] y) <float[B,T,40] rows> {
        rows = Gather(w, ids)
        y = ai.deltaport.Linear(rows, w)
    }"""
    model = quantized(text, {"w": weight("w", 50, 40)}, WeightFormat(4))
    assert print_graph(model.graph) == lines("""
        w.codes [4, 2, 4, 64] = codes(w:float32[50,40], bits=4, block=32, numbers=1)
        w.scales [4, 2, 1, 16] = scales(w:float32[50,40], bits=4, block=32, numbers=1)
        rows = ai.deltaport.QuantizedGather(ids, w.codes, w.scales) width=40
        y = ai.deltaport.QuantizedLinear(rows, w.codes, w.scales) N=50""")


def test_without_a_format_nothing_happens() -> None:
    model = parse_graph(LINEAR % CALL, {"w": weight("w", 20, 40)})
    assert not QuantizeWeights()(model).modified


REFUSED = {
    "another op": "y = MatMul(x, w)",
    "the weight as activation": "y = ai.deltaport.Linear(w, x)",
    "another axis": "y = Gather<axis = 1>(w, x)",
    "the table in half precision, too": TABLE.replace("rows)\n", "rows)\n z = Neg(rows)\n"),
    "the table in another type": TABLE.replace("to = 1", "to = 11"),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_a_weight_that_cannot_be_stored_so_is_named(text: str) -> None:
    whole = "Cast" in text
    weights: dict[str, Recipe] = dict(HALF) if whole else {"w": weight("w", 20, 40)}
    model = parse_graph(text if whole else LINEAR % text, weights)
    set_format(model.graph.initializers["w"], WeightFormat(4))
    with pytest.raises(PassError) as raised:
        QuantizeWeights()(model)
    assert str(raised.value).startswith("quantize-weights: w is to be int4 block=32, and ")
    assert "leave its role out of the recipe" in str(raised.value)


MIXTURE = """g (float[B,T,40] x, float[B,T,4] logits, float[4,40,40] w, float[4,40,20] down,
    float[1,40] sg, float[66,40] sgu, float[40,33] sd, int64[B] n) => (float[B,T,40] y) {
    y = ai.deltaport.SharedExpertMoE<top_k = 2>(x, logits, w, down, sg, sgu, sd, n)
}"""
EXPERTS: dict[str, Recipe] = {
    "w": weight("w", 4, 40, 40),
    "down": weight("down", 4, 40, 20),
    "sg": weight("sg", 1, 40),
    "sgu": weight("sgu", 66, 40),
    "sd": weight("sd", 40, 33),
}


def test_a_mixture() -> None:
    model = parse_graph(MIXTURE, EXPERTS)
    for name, bits in {"w": 4, "down": 4, "sgu": 8, "sd": 8}.items():
        set_format(model.graph.initializers[name], WeightFormat(bits))
    assert QuantizeWeights()(model).modified
    EliminateDeadCode()(model)
    VerifyGraph()(model)
    shapes = {name: value.shape for name, value in model.graph.initializers.items()}
    # Gate rows and up rows have tiles of their own.
    assert shapes["w.codes"] == (4, 4, 2, 4, 64)
    assert shapes["sgu.codes"] == (6, 2, 8, 64)
    assert shapes["sgu.scales"] == (6, 2, 1, 16)
    assert shapes["down.codes"] == (4, 3, 1, 4, 64)
    assert shapes["sg"] == (1, 40)
    [node] = model.graph
    assert node.op_type == "QuantizedSharedExpertMoE"
    assert {name: each.value for name, each in node.attributes.items()} == {
        "top_k": 2,
        "inner": 20,
        "shared_inner": 33,
    }


def test_a_mixture_of_which_only_some_experts_have_a_format() -> None:
    model = parse_graph(MIXTURE, EXPERTS)
    for name in ("w", "down"):
        set_format(model.graph.initializers[name], WeightFormat(4))
    with pytest.raises(
        PassError, match=r"w is to be int4 .*, and SharedExpertMoE reads it, .* both"
    ):
        QuantizeWeights()(model)


def test_formats_follow_roles() -> None:
    names = ["model.layers.0.mlp.down_proj.weight", "model.layers.0.linear_attn.out_proj.weight"]
    shape = "float[40,40]"
    text = f"g ({shape} a, {shape} b, {shape} c) => ({shape} y) {{ s = Add(a, b) y = Add(s, c) }}"
    sources: dict[str, Recipe] = {name: weight(name, 40, 40) for name in "abc"}
    model = parse_graph(text, sources)
    for old, new in zip("ab", names, strict=True):
        value = model.graph.initializers.pop(old)
        value.name = new
        model.graph.initializers[new] = value
    assert ChooseFormats(recipe="int4")(model).modified
    found = {name: format_of(value) for name, value in model.graph.initializers.items()}
    assert found == {names[0]: WeightFormat(4), names[1]: WeightFormat(8), "c": None}
    assert not same_format([model.graph.initializers[name] for name in names])
    for value in model.graph.initializers.values():
        set_format(value, None)
    assert same_format(list(model.graph.initializers.values()))


def test_formats_are_not_chosen_for_what_is_joined() -> None:
    text = "g (float[40,40] a, float[40,40] b) => (float[40,40] y) { y = Add(a, b) }"
    model = parse_graph(text, {"a": weight("a", 40, 40)})
    value = model.graph.initializers.pop("a")
    value.name = "model.layers.0.mlp.gate_proj+up_proj.weight"
    model.graph.initializers[value.name] = value
    with pytest.raises(PreconditionError, match=r"gate_proj\+up_proj.weight is joined of several"):
        ChooseFormats()(model)


def test_a_weight_that_nobody_reads_is_left_alone() -> None:
    model = parse_graph(LINEAR % CALL.replace("w)", "x)"), {"w": weight("w", 20, 40)})
    set_format(model.graph.initializers["w"], WeightFormat(4))
    assert not QuantizeWeights()(model).modified


def test_a_format_that_was_not_carried_out_is_found() -> None:
    model = parse_graph(LINEAR % CALL, {"w": weight("w", 20, 40)})
    check_formats(model.graph)
    set_format(model.graph.initializers["w"], WeightFormat(4))
    with pytest.raises(PassError, match=r"w was to be int4 block=32 and is not; run .*quantize-we"):
        check_formats(model.graph)
    QuantizeWeights()(model)
    check_formats(model.graph)
