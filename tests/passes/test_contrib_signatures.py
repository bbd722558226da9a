"""Our table of onnxruntime's own ops says what onnxruntime says."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import onnxruntime.capi.onnxruntime_pybind11_state as ort_state
import pytest

from deltaport.graph_passes.lower.expand.value_types import CONTRIB, LIKE_INPUT
from deltaport.graph_passes.verify.backend_signatures import SIGNATURES as ALL_SIGNATURES
from deltaport.graph_passes.verify.backend_signatures import VARIABLES

SIGNATURES = ALL_SIGNATURES[CONTRIB]

DTYPES = {
    "tensor(float)": ir.DataType.FLOAT,
    "tensor(float16)": ir.DataType.FLOAT16,
    "tensor(bfloat16)": ir.DataType.BFLOAT16,
    "tensor(int32)": ir.DataType.INT32,
}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    return {
        schema.name: schema
        for schema in ort_state.get_all_operator_schema()
        if schema.domain == CONTRIB and schema.since_version == 1
    }


@pytest.mark.parametrize("op", SIGNATURES)
def test_ports(op: str, schemas: dict[str, Any]) -> None:
    schema, signature = schemas[op], SIGNATURES[op]
    allowed = {each.type_param_str: set(each.allowed_type_strs) for each in schema.type_constraints}
    theirs: dict[str, str] = {}
    for ports, formal in (
        (signature.inputs.split(), schema.inputs),
        (signature.outputs.split(), schema.outputs),
    ):
        assert len(ports) <= len(formal)
        for position, (port, parameter) in enumerate(zip(ports, formal, strict=False)):
            if not port.endswith("?"):
                continue
            assert parameter.option.name == "Optional", (op, position)
        for port, parameter in zip(ports, formal, strict=False):
            variable = port.rstrip("?")
            # One of our variables is one of theirs, and allows no more than it.
            assert theirs.setdefault(variable, parameter.typeStr) == parameter.typeStr
            for dtype in VARIABLES[variable]:
                names = {name for name, each in DTYPES.items() if each == dtype}
                assert names <= allowed[parameter.typeStr], (op, port, dtype)
        # What a call may leave away at the end must be optional.
        assert all(parameter.option.name == "Optional" for parameter in formal[len(ports) :]), op


@pytest.mark.parametrize("op", SIGNATURES)
def test_attributes(op: str, schemas: dict[str, Any]) -> None:
    theirs = schemas[op].attributes
    for name, kind in SIGNATURES[op].attributes.items():
        assert theirs[name].type.name == kind.upper(), name
        assert theirs[name].required == kind.isupper(), name
    required = {name for name, attribute in theirs.items() if attribute.required}
    assert required <= SIGNATURES[op].attributes.keys()


def test_both_tables_are_of_the_same_ops() -> None:
    assert ALL_SIGNATURES.keys() == LIKE_INPUT.keys()
    for domain, likes_of in LIKE_INPUT.items():
        assert ALL_SIGNATURES[domain].keys() == likes_of.keys()
        for op, likes in likes_of.items():
            assert len(likes) == len(ALL_SIGNATURES[domain][op].outputs.split()), op
