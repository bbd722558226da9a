"""Which states get one buffer where our kernels run the ops, and what the check makes of that."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.lower.update_state_in_place import UpdateStateInPlace
from deltaport.graph_passes.verify.verify_in_place_safety import VerifyInPlaceSafety
from deltaport.state_layout import StateLayout, StateTensor
from tests.passes.graph_text import parse_graph

RULE = """g (float[B,T,12] qkv, float[B,T,1] a, float[B,T,1] b, float[1] A, float[1] dt,
        float[B,1,4,4] s, int64[B] n) => (float[B,T,4] o, float[B,1,4,4] s1 MORE) {
    NODES
}"""
CALL = "o, s1 = ai.deltaport.GatedDeltaRule(qkv, a, b, A, dt, s, n)"


def model_of(*nodes: str, more: str = "") -> ir.Model:
    model = parse_graph(RULE.replace("NODES", "\n".join(nodes)).replace(" MORE", more))
    shape = ("slots", 1, 4, 4)
    row = StateTensor(0, "recurrent", "s", "s1", shape, "float32", "swap", False)
    set_layout(model, StateLayout((row,)))
    return AttachFunctionBodies()(model).model


def test_a_kernel_of_ours_needs_one_buffer() -> None:
    model = model_of(CALL)
    assert UpdateStateInPlace()(model).modified
    assert [row.update for row in layout_of(model)] == ["in_place"]
    assert not UpdateStateInPlace()(model).modified
    VerifyInPlaceSafety(kernels=True)(model)


def test_its_body_needs_two() -> None:
    model = model_of(CALL)
    UpdateStateInPlace()(model)
    with pytest.raises(PassError, match="use two buffers"):
        VerifyInPlaceSafety()(model)


@pytest.mark.parametrize(
    "model",
    [
        model_of(CALL, "twice = Add(s, s)", more=", float[B,1,4,4] twice"),
        model_of(CALL.replace("s1", "s2"), "s1 = Identity(s2)"),
        model_of("copy = Identity(s)", CALL.replace("s, n", "copy, n")),
        model_of("w = Mul(s, s)", CALL.replace("s, n", "w, n")),
    ],
    ids=["read elsewhere", "written by another", "read through a view", "changed before"],
)
def test_all_else_keeps_two(model: ir.Model) -> None:
    assert not UpdateStateInPlace()(model).modified
    assert [row.update for row in layout_of(model)] == ["swap"]
