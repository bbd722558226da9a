"""Nodes are counted for the layer whose activations they read; what layers share, for none."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.node_counts import (
    ATTENTION,
    DELTA_RULE,
    FEED_FORWARD,
    ONCE,
    NodeCount,
    node_counts,
)
from deltaport.state_layout import StateKind, StateLayout, StateTensor
from tests.passes.graph_text import parse_graph, weight


def row(layer: int, kind: StateKind) -> StateTensor:
    shape = ("slots", 1, "capacity", 4) if kind == "kv" else ("slots", 3, 4)
    name = f"{layer}.{kind}"
    return StateTensor(
        layer, kind, f"past.{name}", f"present.{name}", shape, "float32", "swap", False
    )


WEIGHTS = {"table": weight("table", 9, 4), "scale": weight("scale", 4)}
LAYOUT = StateLayout((row(0, "conv"), row(0, "recurrent"), row(1, "kv")))

BEFORE = """
    rows = Gather(table, ids)
    embedded = Cast<to = 1>(rows)
    angles = Cast<to = 1>(ids)
    cos = Cos(angles)
"""
UNFUSED = f"""g (int64[N] ids, float[V,4] table, float[4] scale, float[3] s)
    => (float[N,V] logits) {{
    {BEFORE}
    a = RMSNormalization(embedded, scale)
    turned = Transpose(table)
    b = MatMul(a, turned)
    c, s1 = ai.deltaport.GatedDeltaRule(b, s)
    "layers.0.mixed" = Add(c, embedded)
    d = RMSNormalization("layers.0.mixed", scale)
    e = Relu(d)
    "layers.0.output" = Add("layers.0.mixed", e)
    f = RMSNormalization("layers.0.output", scale)
    h = ai.deltaport.GatedAttention(f, f, cos)
    "layers.1.mixed" = Add("layers.0.output", h)
    i = RMSNormalization("layers.1.mixed", scale)
    j = ai.deltaport.SparseMoE(i)
    k = Neg(i)
    l = Add(j, k)
    "layers.1.output" = Add("layers.1.mixed", l)
    m = RMSNormalization("layers.1.output", scale)
    logits = MatMul(m, turned)
}}"""
FUSED = f"""g (int64[N] ids, float[V,4] table, float[4] scale, float[3] s)
    => (float[N,V] logits) {{
    {BEFORE}
    turned = Transpose(table)
    a = RMSNormalization(embedded, scale)
    b, s1 = ai.deltaport.GatedDeltaRule(a, s)
    d, "layers.0.mixed" = ai.deltaport.AddRMSNorm(b, embedded, scale)
    e = Relu(d)
    f, "layers.0.output" = ai.deltaport.AddRMSNorm(e, "layers.0.mixed", scale)
    h = ai.deltaport.GatedAttention(f, f, cos)
    i, "layers.1.mixed" = ai.deltaport.AddRMSNorm(h, "layers.0.output", scale)
    j = ai.deltaport.SharedExpertMoE(i)
    m, "layers.1.output" = ai.deltaport.AddRMSNorm("layers.1.mixed", j, scale)
    logits = MatMul(m, turned)
}}"""


def counted(text: str, layout: StateLayout = LAYOUT) -> dict[str, NodeCount]:
    model = parse_graph(text, WEIGHTS if "table" in text else {})
    set_layout(model, layout)
    return node_counts(model)


def test_unfused_additions() -> None:
    assert counted(UNFUSED) == {
        # Norm, product, rule, addition; the transposed table is shared with the logits.
        DELTA_RULE: NodeCount(layers=1, ours=1, other=3),
        ATTENTION: NodeCount(layers=1, ours=1, other=2),
        # Of the two, the one with more nodes: norm, mixture, Neg, Add, addition.
        FEED_FORWARD: NodeCount(layers=2, ours=1, other=4),
        # Four before the layers, the table, and norm and product after them.
        ONCE: NodeCount(layers=1, ours=0, other=7),
    }


def test_fused_additions_count_for_what_they_end() -> None:
    assert counted(FUSED) == {
        DELTA_RULE: NodeCount(layers=1, ours=2, other=1),
        ATTENTION: NodeCount(layers=1, ours=2, other=0),
        FEED_FORWARD: NodeCount(layers=2, ours=1, other=1),
        ONCE: NodeCount(layers=1, ours=0, other=6),
    }


def test_every_node_is_counted_once() -> None:
    for text, feed_forwards in ((UNFUSED, (3, 5)), (FUSED, (2, 2))):
        counts = counted(text)
        once = counts[DELTA_RULE].total + counts[ATTENTION].total + counts[ONCE].total
        assert once + sum(feed_forwards) == len(parse_graph(text).graph)


def test_a_node_that_joins_two_parts_counts_for_the_later() -> None:
    joined = FUSED.replace("GatedAttention(f, f, cos)", "GatedAttention(f, a, cos)")
    assert counted(joined) == counted(FUSED)


SHAPED = """
    sizes = Shape(ids)
    width = Constant<value_ints = [4]>()
    shape = Concat<axis = 0>(sizes, width)
    wide = Cast<to = 1>(scale)
    large = Add(wide, scale)
    late = Cos(ids)
    e = ai.deltaport.Make(d, {read})
"""


@pytest.mark.parametrize(
    ("read", "more"),
    [
        ("shape", 3),  # of the sizes, the width, and the two together
        ("large", 2),
        ("shape, large", 5),
        ("late", 0),  # follows from what is given in this step
        ("shape, shape, late", 3),
    ],
)
def test_what_prepares_weights_and_shapes_counts_for_who_reads_it(read: str, more: int) -> None:
    text = FUSED.replace("e = Relu(d)", SHAPED.format(read=read))
    assert counted(text)[FEED_FORWARD] == NodeCount(layers=2, ours=2, other=more)
    assert counted(text)[ONCE].total + more == 6 + 6, "none is lost"


def test_what_several_parts_read_counts_for_none() -> None:
    shared = SHAPED.format(read="shape")
    text = FUSED.replace("e = Relu(d)", shared).replace(
        "SharedExpertMoE(i)", "SharedExpertMoE(i, shape)"
    )
    counts = counted(text)
    assert counts[FEED_FORWARD] == NodeCount(layers=2, ours=2, other=0)
    assert counts[ONCE] == NodeCount(layers=1, ours=0, other=12)


def test_what_nobody_reads_counts_for_none() -> None:
    text = FUSED.replace("e = Relu(d)", "e = Relu(d)  dead = Transpose(table)")
    assert counted(text)[ONCE] == NodeCount(layers=1, ours=0, other=7)


def test_a_kind_no_layer_is_of() -> None:
    layout = StateLayout((row(0, "kv"), row(1, "kv")))
    counts = counted(FUSED, layout)
    assert counts[ATTENTION] == NodeCount(layers=2, ours=2, other=1)
    assert DELTA_RULE not in counts


def test_a_graph_without_layers() -> None:
    text = "g (float[N] x) => (float[N] y) { a = ai.deltaport.Make(x)  y = Relu(a) }"
    assert counted(text, StateLayout(())) == {ONCE: NodeCount(layers=1, ours=1, other=1)}


def test_an_empty_graph() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[], name="g"), ir_version=12)
    set_layout(model, StateLayout(()))
    assert node_counts(model) == {ONCE: NodeCount(layers=1, ours=0, other=0)}


def test_the_total_is_both() -> None:
    assert NodeCount(layers=3, ours=2, other=5).total == 7
