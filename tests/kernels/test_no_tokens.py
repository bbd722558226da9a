"""A step without tokens: nothing comes out, and state stays as it was.

Only of kernels: where onnxruntime computes with nothing, some of its ops refuse, and the runtime
never asks it to.
"""

from __future__ import annotations

import numpy as np
import pytest

from deltaport.custom_ops.definitions import (
    ADD_RMS_NORM,
    CAUSAL_CONV1D,
    GATED_ATTENTION,
    GATED_DELTA_RULE_NORM,
    LINEAR,
    QUANTIZED_LINEAR,
    QUANTIZED_MOE,
    SHARED_EXPERT_MOE,
    SWIGLU,
    OpDefinition,
)
from tests.kernels import (
    test_add_rms_norm,
    test_causal_conv1d,
    test_gated_attention,
    test_gated_delta_rule_norm,
    test_linear,
    test_quantized_linear,
    test_quantized_moe,
    test_shared_expert_moe,
    test_swiglu,
)
from tests.kernels.conftest import ISAS
from tests.kernels.kernel_invariants import STATES
from tests.kernels.op_runner import Attributes, assert_same_bits, run_op
from tests.oracles import Array

Case = dict[str, Array]
CASES: dict[str, tuple[OpDefinition, Case, Attributes]] = {
    "add_rms_norm": (ADD_RMS_NORM, test_add_rms_norm.make_case(0, T=0), {}),
    "causal_conv1d": (CAUSAL_CONV1D, test_causal_conv1d.make_case(0, T=0), {}),
    "gated_attention": (
        GATED_ATTENTION,
        test_gated_attention.make_case(0, T=0, past=[3], spare=2),
        {"scale": 0.25},
    ),
    "gated_delta_rule_norm": (
        GATED_DELTA_RULE_NORM,
        test_gated_delta_rule_norm.make_case(0, T=0),
        {},
    ),
    "linear": (LINEAR, test_linear.make_case(0, T=0, dtype=np.float32), {}),
    "shared_expert_moe": (
        SHARED_EXPERT_MOE,
        test_shared_expert_moe.make_case(0, T=0),
        {"top_k": 2},
    ),
    "quantized_linear": (QUANTIZED_LINEAR, test_quantized_linear.make_case(0, T=0), {"N": 20}),
    "quantized_moe": (
        QUANTIZED_MOE,
        test_quantized_moe.make_case(0, T=0),
        {"top_k": 2, "inner": 20},
    ),
    "swiglu": (SWIGLU, test_swiglu.make_case(0, T=0), {}),
}


@pytest.mark.parametrize("implementation", ISAS, indirect=True)
@pytest.mark.parametrize(("op", "case", "attributes"), CASES.values(), ids=CASES)
def test_nothing_happens(op: OpDefinition, case: Case, attributes: Attributes) -> None:
    outputs = run_op(op, case, attributes)
    for port, output in zip(op.outputs, outputs, strict=True):
        if port.name not in STATES:
            assert output.size == 0
        elif port.name.startswith("present"):  # beyond the tokens there are it is unspecified
            assert_same_bits(output[:, :, :3], case[STATES[port.name]][:, :, :3])
        else:
            assert_same_bits(output, case[STATES[port.name]])
