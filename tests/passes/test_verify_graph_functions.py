"""Functions that differ from the definitions they carry out are found."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from tests.passes.sound_graph import fault_of, parsed


def with_bodies() -> ir.Model:
    model = parsed()
    AttachFunctionBodies()(model)
    VerifyGraph()(model)
    return model


def function_of(model: ir.Model) -> ir.Function:
    return model.functions["ai.deltaport", "AddRMSNorm", ""]


def test_a_function_with_other_inputs() -> None:
    model = with_bodies()
    function_of(model).inputs[1].name = "rest"
    assert fault_of(model) == (
        "function AddRMSNorm: inputs are ['x', 'rest', 'scale'], "
        "expected ['x', 'residual', 'scale']"
    )


def test_a_function_with_other_outputs() -> None:
    model = with_bodies()
    outputs = function_of(model).outputs
    outputs.pop()
    assert fault_of(model) == "function AddRMSNorm: outputs are ['y'], expected ['y', 'sum']"


def test_a_function_with_other_attributes() -> None:
    model = with_bodies()
    del function_of(model).attributes["norm_eps"]
    assert fault_of(model) == "function AddRMSNorm: attributes are [], expected ['norm_eps']"


def test_a_function_of_no_definition() -> None:
    model = with_bodies()
    function = model.functions.pop(("ai.deltaport", "AddRMSNorm", ""))
    function.name = "AddFlatNorm"
    model.functions["ai.deltaport", "AddFlatNorm", ""] = function
    assert fault_of(model) == "ai.deltaport.AddFlatNorm has no definition"


def test_a_function_of_another_domain_is_its_own_affair() -> None:
    model = with_bodies()
    function = model.functions.pop(("ai.deltaport", "AddRMSNorm", ""))
    function.domain, function.name = "somewhere", "Anything"
    model.functions["somewhere", "Anything", ""] = function
    VerifyGraph()(model)
