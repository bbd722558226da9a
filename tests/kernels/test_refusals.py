"""Inputs that do not fit each other are refused by name, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS
from deltaport.runtime.kernel_library import supported_isas
from tests.kernels import (
    delta_rule_cases,
    test_causal_conv1d,
    test_gated_attention,
    test_quantized_linear,
    test_quantized_moe,
)
from tests.kernels.op_runner import implemented_by, run_op
from tests.oracles import Array

Feeds = dict[str, Array]


@pytest.fixture(autouse=True)
def implementation() -> Iterator[None]:
    """Any one: the checks come before the instruction set matters, and bodies have none."""
    with implemented_by(supported_isas()[0]):
        yield


def mixture() -> Feeds:
    return {
        "x": np.ones((1, 2, 8), np.float32),
        "router_logits": np.ones((1, 2, 4), np.float32),
        "gate_up": np.ones((4, 6, 8), np.float32),
        "down": np.ones((4, 8, 3), np.float32),
        "lengths": np.array([2]),
    }


def table() -> Feeds:
    weight = test_quantized_linear.make_case(0)
    return {"ids": np.array([[0, 31]])} | {name: weight[name] for name in weight if name != "x"}


CASES: dict[str, tuple[str, Feeds, dict[str, Any]]] = {
    "conv": ("CausalConv1d", test_causal_conv1d.make_case(0, T=3), {}),
    "rule": ("GatedDeltaRule", delta_rule_cases.make_case(0, T=3), {}),
    "attention": (
        "GatedAttention",
        test_gated_attention.make_case(0, T=3, lengths=[3], past=[2]),
        {"scale": 0.5},
    ),
    "mixture": ("SparseMoE", mixture(), {"top_k": 2}),
    "codes": ("QuantizedLinear", test_quantized_linear.make_case(0), {"N": 20}),
    "table": ("QuantizedGather", table(), {"width": 70}),
    "experts": ("QuantizedMoE", test_quantized_moe.make_case(0, T=2), {"top_k": 2, "inner": 20}),
}


def cut(array: Array, axis: int = -1) -> Array:
    """One shorter along an axis."""
    return np.ascontiguousarray(array.take(range(array.shape[axis] - 1), axis))


@pytest.mark.parametrize(
    ("case", "name", "change", "message"),
    [
        ("conv", "state", cut, r"CausalConv1d: state is \[1,3,5\], expected \[1,3,6\]"),
        ("conv", "lengths", lambda n: n + 1, r"lengths\[0\] is 4, expected 0 to 3"),
        ("conv", "lengths", lambda n: n - 9, r"lengths\[0\] is -6, expected 0 to 3"),
        ("rule", "qkv", cut, "qkv is .* wide, which does not fit"),
        ("rule", "a", cut, r"GatedDeltaRule: a is \[.*\], expected"),
        ("rule", "state", lambda s: s[..., :0], "qkv is .* wide, which does not fit"),
        ("attention", "q_gate", lambda q: q[..., :0], "q_gate is 0 wide, which does not fit"),
        (
            "attention",
            "past_key",
            lambda _: np.zeros((1, 1, (1 << 24) + 1, 1), np.float32),
            "room for 16777217 tokens, expected at most 16777216",
        ),
        ("attention", "past_lengths", lambda n: n + 99, "does not fit a cache for"),
        ("attention", "past_lengths", lambda n: n - 9, r"past_lengths\[0\] is -7"),
        ("attention", "v", cut, r"GatedAttention: v is"),
        ("mixture", "down", cut, r"SparseMoE: gate_up is \[4,6,8\], expected \[4,4,8\]"),
        ("mixture", "x", cut, r"SparseMoE: gate_up is"),
        ("codes", "weight", lambda w: cut(w, 0), r"weight is \[1,3,4,64\], expected \[2,3,4,64\]"),
        (
            "codes",
            "weight",
            lambda w: cut(w, 1),
            "has 3 blocks of 2 groups, expected enough for 70",
        ),
        ("codes", "weight", lambda w: cut(w, 2), "has codes of 3 bits, expected 4 or 8"),
        ("codes", "weight_scales", cut, r"weight_scales is \[2,3,1,15\], expected \[2,3,1,16\]"),
        ("codes", "weight_scales", lambda s: cut(s, 1), "weight has 2 blocks of 3 groups"),
        (
            "codes",
            "weight_scales",
            lambda s: s[:, :, [0] * 3],
            "has 3 numbers a block, expected 1 or",
        ),
        ("codes", "x", lambda x: np.ones((1, 1, 97), np.float32), "expected enough for 97 inputs"),
        ("codes", "x", lambda x: np.ones((1, 1, 64), np.float32), "for 64 inputs and no more"),
        ("table", "ids", lambda i: i + 1, "an id is 32, expected 0 to 31"),
        ("table", "ids", lambda i: i - 1, "an id is -1, expected 0 to 31"),
        ("experts", "gate_up", lambda w: cut(w, 0), r"gate_up is \[3,4,2,4,64\], expected \[4,4,"),
        ("experts", "gate_up", lambda w: cut(w, 1), r"gate_up is \[4,3,2,4,64\], expected \[4,4,"),
        ("experts", "down_scales", lambda s: cut(s, 1), "down_scales is"),
    ],
)
def test_it_is_refused(case: str, name: str, change: Any, message: str) -> None:
    op, feeds, attributes = CASES[case]
    with pytest.raises(Exception, match=message):
        run_op(DEFINITIONS[op], feeds | {name: change(feeds[name])}, attributes)


@pytest.mark.parametrize("top_k", [0, 5])
def test_experts_that_are_not_there(top_k: int) -> None:
    with pytest.raises(Exception, match=f"top_k is {top_k}, expected 1 to 4"):
        run_op(DEFINITIONS["SparseMoE"], mixture(), {"top_k": top_k})
