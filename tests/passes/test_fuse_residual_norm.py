"""A sum and the norm that reads it become one op; the sum keeps its name."""

from __future__ import annotations

import numpy as np
import pytest

from deltaport.graph_passes.fuse.fuse_residual_norm import FuseResidualNorm
from tests.passes.graph_text import weight
from tests.passes.rewrite_check import check_refusal, check_rewrite, check_same_results

HEADER = """g (float[B,T,4] x, float[B,T,4] r, float[4] scale)
    => (float[B,T,4] y, float[B,T,4] z) <float[B,T,4] mixed>"""
ADD = "mixed = Add(x, r)"
NORM = "y = RMSNormalization<axis = -1, epsilon = 0.5>(mixed, scale)"
READER = "z = Relu(mixed)"
WEIGHTS = {"scale": weight("s", 4)}
FUSED = """scale [4] = s:float32[4]
    y, mixed = ai.deltaport.AddRMSNorm(x, r, scale) norm_eps=0.5
    z = Relu(mixed)"""


def graph(*nodes: str, header: str = HEADER) -> str:
    return header + "{\n" + "\n".join(nodes) + "\n}"


@pytest.mark.parametrize("nodes", [(ADD, NORM, READER), (ADD, READER, NORM)])
@pytest.mark.parametrize("axis", ["axis = -1", "axis = 2"])
def test_a_sum_and_its_norm_fuse_whoever_reads_the_sum(nodes: tuple[str, ...], axis: str) -> None:
    text = graph(*nodes).replace("axis = -1", axis)
    check_rewrite(FuseResidualNorm(), text, FUSED, WEIGHTS)


def test_the_defaults_of_the_norm_are_those_of_onnx() -> None:
    text = graph(ADD, "y = RMSNormalization(mixed, scale)", READER)
    check_rewrite(FuseResidualNorm(), text, FUSED.replace("=0.5", "=1e-05"), WEIGHTS)


def test_of_two_norms_of_a_sum_the_first_fuses() -> None:
    other = "w = RMSNormalization<epsilon = 0.25>(mixed, scale)"
    header = HEADER.replace("=> (", "=> (float[B,T,4] w, ")
    check_rewrite(
        FuseResidualNorm(),
        graph(ADD, NORM, other, READER, header=header),
        """scale [4] = s:float32[4]
        y, mixed = ai.deltaport.AddRMSNorm(x, r, scale) norm_eps=0.5
        w = RMSNormalization(mixed, scale) epsilon=0.25
        z = Relu(mixed)""",
        WEIGHTS,
    )


def test_it_computes_the_same() -> None:
    rng = np.random.default_rng(3)
    inputs = {name: rng.standard_normal((2, 5, 4), np.float32) for name in "xr"}
    check_same_results(FuseResidualNorm(), graph(ADD, NORM, READER), WEIGHTS, inputs)


REFUSALS = {
    "another norm": graph(ADD, "y = LayerNormalization<axis = -1>(mixed, scale)", READER),
    "no sum": graph("mixed = Mul(x, r)", NORM, READER),
    "the sum is a graph output": graph(ADD, NORM, READER,
        header=HEADER.replace(" <float[B,T,4] mixed>", "").replace(
            "=> (", "=> (float[B,T,4] mixed, ")),
    "an addend is broadcast": graph(ADD, NORM, READER,
        header=HEADER.replace("float[B,T,4] r", "float[4] r")),
    "an addend of unknown shape": graph(ADD, NORM, READER,
        header=HEADER.replace("float[B,T,4] x", "float x")),
    "over another axis": graph(ADD, NORM.replace("-1", "1"), READER),
    "a scale of several axes": graph(ADD, NORM, READER,
        header=HEADER.replace("float[4] scale", "float[B,T,4] scale")),
    "a scale that is broadcast": graph(ADD, NORM, READER,
        header=HEADER.replace("float[4] scale", "float[1] scale")),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    shape = (1,) if "float[1] scale" in text else (4,)
    weights = {"scale": weight("s", *shape)} if "T,4] scale" not in text else {}
    check_refusal(FuseResidualNorm(), text, weights)


def test_a_scale_that_is_computed_is_left_alone() -> None:
    header = HEADER.replace("float[4] scale)", "float[4] scale, float[4] c)")
    header = header.replace("<float", "<float[4] scale2, float")
    text = graph(ADD, "scale2 = Mul(scale, c)", NORM.replace("scale)", "scale2)"), READER,
                 header=header)  # fmt: skip
    check_refusal(FuseResidualNorm(), text, WEIGHTS)
