"""Every op of ours ends up with its body in the model, once."""

from __future__ import annotations

import re

import onnx
import onnx_ir as ir
import pytest

from deltaport.custom_ops.definitions import CAUSAL_CONV1D, DEFINITIONS, DOMAIN, OpDefinition, Port
from deltaport.errors import PassError
from deltaport.graph_passes.graph_pass import PreconditionError
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from tests.passes.graph_text import parse_graph, print_graph

CONV = (DOMAIN, "CausalConv1d", "")
MOE = (DOMAIN, "SparseMoE", "")

TWO_CONVOLUTIONS = """g (float[B,T,C] x, float[C,4] w, float[B,3,C] s, int64[B] n)
    => (float[B,T,C] y, float[B,3,C] s1, float[B,3,C] s2)
{
    h, s1 = ai.deltaport.CausalConv1d(x, w, s, n)
    y, s2 = ai.deltaport.CausalConv1d(h, w, s, n)
}"""

IN_A_BRANCH = """g (bool c, float[B,T,C] x, float[C,4] w, float[B,3,C] s, int64[B] n)
    => (float[B,T,C] y)
{
    y = If (c) <
        then_branch = a () => (float[B,T,C] h) { h, s1 = ai.deltaport.CausalConv1d(x, w, s, n) },
        else_branch = b () => (float[B,T,C] k) { k = Identity(x) }
    >
}"""


def check(model: ir.Model) -> None:
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_a_body_is_attached_once_for_all_calls() -> None:
    model = parse_graph(TWO_CONVOLUTIONS)
    before = print_graph(model.graph)
    assert AttachFunctionBodies()(model).modified
    assert list(model.functions) == [CONV]
    assert print_graph(model.graph) == before
    attached, shipped = ir.to_proto(model.functions[CONV]), CAUSAL_CONV1D.function
    assert (attached.input, attached.output) == (shipped.input, shipped.output)
    assert [(n.op_type, n.input, n.output) for n in attached.node] == [
        (n.op_type, n.input, n.output) for n in shipped.node
    ]
    check(model)


def test_a_second_run_changes_nothing() -> None:
    model = parse_graph(TWO_CONVOLUTIONS)
    AttachFunctionBodies()(model)
    attached = model.functions[CONV]
    assert not AttachFunctionBodies()(model).modified
    assert model.functions[CONV] is attached


def test_models_do_not_share_a_body() -> None:
    models = [parse_graph(TWO_CONVOLUTIONS) for _ in range(2)]
    for model in models:
        AttachFunctionBodies()(model)
    first, second = (model.functions[CONV] for model in models)
    assert first is not second
    first[0].name = "renamed"
    assert second[0].name != "renamed"


def test_a_call_inside_a_subgraph_counts() -> None:
    model = parse_graph(IN_A_BRANCH)
    assert AttachFunctionBodies()(model).modified
    assert list(model.functions) == [CONV]
    check(model)


def test_only_what_is_called_is_attached() -> None:
    model = parse_graph(
        """g (float[B,T,H] x, float[B,T,E] r, float[E,I2,H] up, float[E,H,I] down, int64[B] n)
            => (float[B,T,H] y)
        { y = ai.deltaport.SparseMoE<top_k = 2>(x, r, up, down, n) }"""
    )
    AttachFunctionBodies()(model)
    assert list(model.functions) == [MOE]
    check(model)


def test_a_standard_graph_is_left_alone() -> None:
    model = parse_graph("g (float[N] x) => (float[N] y) { y = Relu(x) }")
    assert not AttachFunctionBodies()(model).modified
    assert not model.functions


def test_an_op_without_definition_is_an_error() -> None:
    model = parse_graph("g (float[N] x) => (float[N] y) { y = ai.deltaport.Fused(x) }")
    with pytest.raises(PassError, match=r"attach-function-bodies: ai\.deltaport\.Fused"):
        AttachFunctionBodies()(model)


@pytest.mark.parametrize("opset", [23, 25])
def test_another_opset_is_refused(opset: int) -> None:
    model = parse_graph(TWO_CONVOLUTIONS, opset=opset)
    with pytest.raises(PreconditionError) as caught:
        AttachFunctionBodies()(model)
    assert str(caught.value) == (
        f"attach-function-bodies: graph is opset {opset}, function bodies are opset 24"
    )
    assert not model.functions


REQUIRED = {"scale": "0.25", "top_k": "2", "N": "3", "width": "3", "inner": "3"}
REQUIRED["shared_inner"] = "3"


def dims(port: Port) -> str:
    """The shape of a port as ONNX text takes it, which knows names but no sizes to compute."""
    return ",".join("d" + re.sub(r"\W", "_", dim) for dim in port.shape.split(","))


@pytest.mark.parametrize("op", DEFINITIONS.values(), ids=DEFINITIONS)
def test_every_op_has_a_body_to_attach(op: OpDefinition) -> None:
    kinds = {name: name for name in ("float", "int64", "uint8", "bfloat16")} | {"T": "bfloat16"}
    inputs = [f"{kinds[port.dtype]}[{dims(port)}] {port.name}" for port in op.inputs]
    outputs = [f"float[{dims(port)}] {port.name}" for port in op.outputs]
    names = [", ".join(port.name for port in ports) for ports in (op.outputs, op.inputs)]
    required = [name for name, found in op.attributes.items() if found.default is None]
    given = ", ".join(f"{name} = {REQUIRED[name]}" for name in required)
    call = f"ai.deltaport.{op.name}<{given}>" if given else f"ai.deltaport.{op.name}"
    model = parse_graph(
        f"""g ({", ".join(inputs)}) => ({", ".join(outputs)})
            {{ {names[0]} = {call}({names[1]}) }}"""
    )
    assert AttachFunctionBodies()(model).modified
    check(model)
