"""What a manifest says of quantized weights is read back; whatever else it holds is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from deltaport.errors import EngineError
from deltaport.package import Loss, Manifest, Quantization, RoleStorage
from deltaport.weight_format import WeightFormat
from tests.unit.test_manifest import MANIFEST

LOSS = Loss(
    tokens=90, context=64, reference_perplexity=7.5, perplexity=8.0, kl=0.25, top1=0.5
)  # fmt: skip
QUANTIZED = replace(
    MANIFEST,
    quantization=Quantization(
        "mine",
        {
            "mlp": RoleStorage(WeightFormat(4, 128, True), 1000, 600),
            "embedding": RoleStorage(WeightFormat(8), 3000, 3400),
        },
        LOSS,
    ),
)
DOCUMENT: dict[str, Any] = json.loads(QUANTIZED.to_json())


def parse(document: object) -> Manifest:
    return Manifest.from_json(json.dumps(document), source="m.json")


def test_round_trip() -> None:
    again = Manifest.from_json(QUANTIZED.to_json(), source="m.json")
    assert again == QUANTIZED
    assert again.to_json() == QUANTIZED.to_json()
    assert parse(with_change(("loss",), None)).quantization == replace(
        QUANTIZED.quantization, loss=None  # type: ignore[type-var]
    )  # fmt: skip


def test_bits_are_told() -> None:
    found = DOCUMENT["quantization"]
    assert found["bits_per_weight"] == 8.0
    assert found["roles"]["mlp"] == {
        "format": "int4 block=128 asymmetric", "parameters": 1000, "bytes": 600,
        "bits_per_weight": 4.8,
    }  # fmt: skip


def with_change(place: tuple[str, ...], value: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    here = document["quantization"]
    for name in place[:-1]:
        here = here[name]
    here[place[-1]] = value
    return document


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("other",), 1, "quantization: expected the fields recipe, bits_per_weight, roles, loss"),
        (("recipe",), 4, "quantization: recipe is 4, expected str"),
        (("roles",), {}, "quantization.roles is empty"),
        (("roles",), [], "quantization: roles is [], expected dict"),
        (("roles", "mlp"), 1, "quantization.roles['mlp']: expected the fields format"),
        (("roles", "mlp", "format"), "int3", "roles['mlp']: format is 'int3', expected int4"),
        (("roles", "mlp", "bytes"), 0, "roles['mlp']: bytes is 0, expected a positive number"),
        (("roles", "mlp", "bytes"), True, "roles['mlp']: bytes is True, expected a number"),
        (("roles", "mlp", "parameters"), 10**30, "expected a positive number"),
        (("loss",), {"tokens": 1}, "quantization.loss: expected the fields tokens, context"),
        (("loss", "kl"), 10**400, "quantization.loss: kl is 1000"),
        (("bits_per_weight",), 10**400, "quantization: bits_per_weight is 1000"),
        (("loss", "reference_perplexity"), 0, "reference_perplexity is 0, expected a positive"),
        (("loss", "tokens"), -1, "tokens is -1, expected a positive"),
        (("roles", "mlp", "format"), "int4" * 999, "expected int4 or int8"),
        (("loss", "kl"), "0", "quantization.loss: kl is '0', expected a number"),
        (("loss", "tokens"), 1.5, "quantization.loss: tokens is 1.5, expected a number"),
    ],
)
def test_what_is_wrong(place: tuple[str, ...], value: object, problem: str) -> None:
    with pytest.raises(EngineError) as raised:
        parse(with_change(place, value))
    assert str(raised.value).startswith("m.json: quantization")
    assert problem in str(raised.value)
    assert len(str(raised.value)) < 300


def test_it_is_an_object_or_null() -> None:
    with pytest.raises(EngineError, match=r"m\.json: quantization is \[\], expected dict"):
        parse(DOCUMENT | {"quantization": []})
