"""Graphs that may keep a state in one buffer, and graphs that may not, one reason at a time.

In all of them ``p`` is the past, ``o`` the present, ``u`` and ``x`` something else.
"""

from __future__ import annotations

import onnx_ir as ir
import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.verify.verify_in_place_safety import VerifyInPlaceSafety
from deltaport.state_layout import StateLayout, StateTensor, StateUpdate
from tests.passes.graph_text import parse_graph, print_graph

HEAD = "g (float[B,8,4] p, float[B,T,4] u, int64[B] n, bool c)"
WINDOW = """
    start = Constant<value_ints = [-8]>()
    end = Constant<value_ints = [9999]>()
    axis = Constant<value_ints = [1]>()
    all = Concat<axis = 1>(p, u)
"""


def verify(model: ir.Model, *pairs: tuple[str, str], update: StateUpdate = "in_place") -> None:
    rows = [
        StateTensor(0, "conv", past, present, ("slots", 8, 4), "float32", update, False)
        for past, present in pairs or [("p", "o")]
    ]
    set_layout(model, StateLayout(tuple(rows)))
    before = print_graph(model.graph)
    functions = list(model.functions)
    assert not VerifyInPlaceSafety()(model).modified
    assert print_graph(model.graph) == before
    assert list(model.functions) == functions


SAFE = {
    "its reader copies, and the writer descends from it": f"""
        {HEAD} => (float[B,8,4] o) {{ {WINDOW} o = Slice(all, start, end, axis) }}""",
    "its reader copies a view": f"""
        {HEAD} => (float[B,8,4] o) {{
            shape = Shape(p)
            view = Reshape(p, shape)
            all = Concat<axis = 1>(view, u)
            start = Constant<value_ints = [-8]>()
            end = Constant<value_ints = [9999]>()
            axis = Constant<value_ints = [1]>()
            o = Slice(all, start, end, axis)
        }}""",
    "a kernel made for it": f"""
        {HEAD} => (float[B,8,4] o) {{ o = TensorScatter<axis = 1>(p, u, n) }}""",
    "a kernel made for it, on a view": f"""
        {HEAD} => (float[B,8,4] o) {{
            view = Identity(p)
            o = TensorScatter<axis = 1>(view, u, n)
        }}""",
    "the shape read after the write": f"""
        {HEAD} => (float[B,8,4] o, int64[3] y, int64 z) {{
            o = TensorScatter<axis = 1>(p, u, n)
            y = Shape(p)
            z = Size(p)
        }}""",
    "the shape read inside a branch": f"""
        {HEAD} => (float[B,8,4] o, int64[3] y) {{
            o = TensorScatter<axis = 1>(p, u, n)
            y = If (c) <then_branch = a () => (int64[3] s) {{ s = Shape(p) }},
                        else_branch = b () => (int64[3] t) {{ t = Shape(u) }}>
        }}""",
    "what was written read afterwards": f"""
        {HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            o = TensorScatter<axis = 1>(p, u, n)
            y = Relu(o)
        }}""",
    "a copy read afterwards": f"""
        {HEAD} => (float[B,8,4] o, float[B,X,4] y) {{
            {WINDOW}
            o = Slice(all, start, end, axis)
            y = Relu(all)
        }}""",
    "a writer that captures the copy in a branch": f"""
        {HEAD} => (float[B,8,4] o) {{
            {WINDOW}
            o = If (c) <
                then_branch = a () => (float[B,8,4] s) {{ s = Slice(all, start, end, axis) }},
                else_branch = b () => (float[B,8,4] t) {{ t = Neg(u) }}>
        }}""",
    "nobody reads it": f"""
        {HEAD} => (float[B,8,4] o) {{ o = Relu(u) }}""",
}

UNSAFE = {
    "a reader the writer does not wait for": (
        "y|Relu",
        f"""{HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            y = Relu(p)
            {WINDOW}
            o = Slice(all, start, end, axis)
        }}""",
    ),
    "a copy the writer does not wait for": (
        "Concat",
        f"""{HEAD} => (float[B,8,4] o, float[B,X,4] all) {{
            {WINDOW}
            o = TensorScatter<axis = 1>(p, u, n)
        }}""",
    ),
    "a reader of a view": (
        "Relu",
        f"""{HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            view = Identity(p)
            y = Relu(view)
            o = TensorScatter<axis = 1>(view, u, n)
        }}""",
    ),
    "a reader of a view of a view": (
        "Relu",
        f"""{HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            axis = Constant<value_ints = [0]>()
            wide = Unsqueeze(p, axis)
            same = Squeeze(wide, axis)
            y = Relu(same)
            o = TensorScatter<axis = 1>(same, u, n)
        }}""",
    ),
    "a view after the write": (
        "Reshape",
        f"""{HEAD} => (float[B,8,4] o, float[X,4] y) {{
            o = TensorScatter<axis = 1>(p, u, n)
            shape = Constant<value_ints = [-1, 4]>()
            view = Reshape(p, shape)
            y = Relu(view)
        }}""",
    ),
    "a view that is returned": (
        "Identity",
        f"""{HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            y = Identity(p)
            o = TensorScatter<axis = 1>(p, u, n)
        }}""",
    ),
    "a branch that captures it": (
        "If",
        f"""{HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            o = TensorScatter<axis = 1>(p, u, n)
            y = If (c) <then_branch = a () => (float[B,8,4] s) {{ s = Relu(p) }},
                        else_branch = b () => (float[B,8,4] t) {{ t = Neg(o) }}>
        }}""",
    ),
    "a branch that captures a view": (
        "If",
        f"""{HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            view = Identity(p)
            y = If (c) <then_branch = a () => (float[B,8,4] s) {{ s = Relu(view) }},
                        else_branch = b () => (float[B,8,4] t) {{ t = Neg(u) }}>
            o = TensorScatter<axis = 1>(view, u, n)
        }}""",
    ),
    "a branch in a branch that captures it": (
        "If",
        f"""{HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            y = If (c) <
                then_branch = a () => (float[B,8,4] s) {{
                    s = If (c) <then_branch = a2 () => (float[B,8,4] s2) {{ s2 = Relu(p) }},
                                else_branch = b2 () => (float[B,8,4] t2) {{ t2 = Neg(u) }}>
                }},
                else_branch = b () => (float[B,8,4] t) {{ t = Neg(u) }}>
            o = TensorScatter<axis = 1>(p, u, n)
        }}""",
    ),
    "a writer that reads it in a branch": (
        "If .* reads and writes",
        f"""{HEAD} => (float[B,8,4] o) {{
            o = If (c) <then_branch = a () => (float[B,8,4] s) {{ s = Relu(p) }},
                        else_branch = b () => (float[B,8,4] t) {{ t = Neg(u) }}>
        }}""",
    ),
    "a writer that scans it": (
        "Scan .* reads and writes",
        f"""{HEAD} => (float[B,8,4] o, float[T,4,8,4] y) {{
            o, y = Scan(p, u) <num_scan_inputs = 1, body = step (float[8,4] s, float[4] e)
                => (float[8,4] s1, float[8,4] r) {{ s1 = Add(s, e)  r = Identity(s1) }}>
        }}""",
    ),
    "a writer that captures it in a loop": (
        "Loop .* reads and writes",
        f"""{HEAD} => (float[B,8,4] o) {{
            m = Constant<value_int = 3>()
            o = Loop(m, c, u) <body = step (int64 i, bool k, float[B,8,4] s)
                => (bool k1, float[B,8,4] s1) {{ k1 = Identity(k)  s1 = Add(s, p) }}>
        }}""",
    ),
    "a writer that reads it": (
        "Add .* reads and writes",
        f"""{HEAD} => (float[B,8,4] o) {{ o = Add(p, u) }}""",
    ),
    "a view as the writer": (
        "Identity .* reads and writes",
        f"""{HEAD} => (float[B,8,4] o) {{ o = Identity(p) }}""",
    ),
    "a scatter that reads it as the update": (
        "TensorScatter .* reads and writes",
        f"""{HEAD} => (float[B,8,4] o) {{ o = TensorScatter<axis = 1>(p, p, n) }}""",
    ),
    "a scatter into something else": (
        "TensorScatter .* reads and writes",
        f"""{HEAD} => (float[B,8,4] o) {{ o = TensorScatter<axis = 1>(u, p, n) }}""",
    ),
    "a writer that may be fused with its reader": (
        "MatMul .* may be fused",
        f"""{HEAD} => (float[B,8,4] o) {{
            y = MatMul(p, u)
            o = Add(y, u)
        }}""",
    ),
    "a reader that may be dropped": (
        "Cast .* may be fused",
        f"""{HEAD} => (float[B,8,4] o) {{
            y = Cast<to = 1>(p)
            o = Gather<axis = 1>(y, n)
        }}""",
    ),
    "a writer that may be dropped": (
        "Gather .* may be fused",
        f"""{HEAD} => (float[B,8,4] o) {{
            y = Gather<axis = 1>(p, n)
            o = Identity(y)
        }}""",
    ),
}


@pytest.mark.parametrize("text", SAFE.values(), ids=SAFE)
def test_safe(text: str) -> None:
    verify(parse_graph(text))


@pytest.mark.parametrize(("offender", "text"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe(offender: str, text: str) -> None:
    with pytest.raises(PassError, match=rf"p -> o: ({offender}).* \(update = swap\)"):
        verify(parse_graph(text))


@pytest.mark.parametrize("text", [text for _, text in UNSAFE.values()], ids=UNSAFE)
def test_two_buffers_are_always_safe(text: str) -> None:
    verify(parse_graph(text), update="swap")


def test_each_tensor_is_judged_alone() -> None:
    # o is written from q and r from p: exchanging the two is fine, keeping either is not.
    model = parse_graph(
        "g (float[N] p, float[N] q) => (float[N] o, float[N] r) { o = Neg(q)  r = Neg(p) }"
    )
    verify(model, ("q", "r"), update="swap")
    with pytest.raises(PassError, match="p -> o"):
        verify(model)


def test_an_output_nobody_writes() -> None:
    model = parse_graph("g (float[N] p, float[N] o) => (float[N] o) { y = Relu(p) }")
    with pytest.raises(PassError, match="p -> o: no node writes the output"):
        verify(model, ("p", "o"))


IN_FUNCTIONS = """
    g (float[B,8,4] p, float[B,T,4] u, int64[B] n) => (float[B,8,4] o, float[B,8,4] y) {{
        o, y = ai.deltaport.Outer(p, u, n)
    }}
    <domain: "ai.deltaport", opset_import: ["": 24, "ai.deltaport": 1]>
    Outer (a, b, m) => (c, d) {{ c, d = ai.deltaport.Inner(a, b, m) }}
    <domain: "ai.deltaport", opset_import: ["": 24]>
    Inner (a, b, m) => (c, d) {{
        c = TensorScatter<axis = 1>(a, b, m)
        d = Relu({read})
    }}"""


def test_function_bodies_are_looked_into() -> None:
    verify(parse_graph(IN_FUNCTIONS.format(read="c")))
    with pytest.raises(PassError, match="Relu"):
        verify(parse_graph(IN_FUNCTIONS.format(read="a")))


def test_an_op_without_body_is_not_trusted() -> None:
    model = parse_graph("g (float[N] p) => (float[N] o) { o = ai.deltaport.CausalConv1d(p) }")
    with pytest.raises(PassError, match=r"CausalConv1d .* reads and writes"):
        verify(model)


def test_a_safe_body_says_nothing_of_what_another_node_writes() -> None:
    model = parse_graph(f"""
        {HEAD} => (float[B,8,4] o, float[B,8,4] y) {{
            y = ai.deltaport.Safe(p, u, n)
            o = Relu(u)
        }}
        <domain: "ai.deltaport", opset_import: ["": 24]>
        Safe (a, b, m) => (c) {{ c = TensorScatter<axis = 1>(a, b, m) }}""")
    with pytest.raises(PassError, match="p -> o: TensorScatter"):
        verify(model)
