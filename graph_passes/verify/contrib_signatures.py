"""The dtypes that onnxruntime's own ops take together, as far as graphs of ours call them.

What their outputs look like is in ``lower.contrib.value_types``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["SIGNATURES", "VARIABLES", "ContribSignature"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

VARIABLES: Mapping[str, tuple[ir.DataType, ...]] = {
    "T": _FLOATS,
    "S": _FLOATS,
    "M": (ir.DataType.INT32,),
    "U": (ir.DataType.FLOAT,),
}
"""The dtypes each variable may stand for: one in all of a call."""


@dataclass(frozen=True)
class ContribSignature:
    """Type variables of the inputs and outputs, ``?`` after those that may be left out.

    ``attributes`` are those a call may have; a type in capitals is one that it must.
    """

    inputs: str
    outputs: str
    attributes: Mapping[str, str]


SIGNATURES: Mapping[str, ContribSignature] = {
    "CausalConvWithState": ContribSignature(
        "T T T? T?", "T T", {"activation": "string", "channels_last": "int"}
    ),
    "GatedRMSNorm": ContribSignature("T T T", "T", {"activation": "string", "epsilon": "float"}),
    "GroupQueryAttention": ContribSignature(
        "T T? T? S? S? M M",
        "T S? S?",
        {"num_heads": "INT", "kv_num_heads": "INT", "scale": "float"},
    ),
    "LinearAttention": ContribSignature(
        "T T T S? T? T?",
        "T S",
        {
            "q_num_heads": "INT",
            "kv_num_heads": "INT",
            "scale": "float",
            "update_rule": "string",
        },
    ),
    "MoE": ContribSignature(
        "T T T T? T",
        "T",
        {
            "k": "int",
            "activation_type": "string",
            "swiglu_fusion": "int",
            "activation_alpha": "float",
            "activation_beta": "float",
            "normalize_routing_weights": "int",
        },
    ),
    "SkipSimplifiedLayerNormalization": ContribSignature(
        "T T T", "T U? U? T?", {"epsilon": "float"}
    ),
}
"""By op, version 1 of its domain: the leading ports of each, and the attributes we give."""
