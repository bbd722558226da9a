"""A product with a weight in half precision reads the weight as it is stored."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from deltaport.graph_passes.fuse.fuse_stored_linear import FuseStoredLinear
from deltaport.graph_passes.recipes.recipe import Source
from tests.passes.graph_text import weight
from tests.passes.rewrite_check import check_refusal, check_rewrite, check_same_results

HEADER = "g (float[B,T,4] x, HALF[4,6] w) => (float[B,T,6] y) <float[4,6] c>"
CAST, MATMUL = "c = Cast<to = 1>(w)", "y = MatMul(x, c)"
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def graph(*nodes: str, header: str = HEADER, half: str = "bfloat16") -> str:
    return header.replace("HALF", half) + "{\n" + "\n".join(nodes) + "\n}"


def weights(half: str = "bfloat16", *shape: int) -> dict[str, Source]:
    return {"w": Source("w", shape or (4, 6), HALVES[half])}


@pytest.mark.parametrize("half", HALVES)
def test_a_cast_weight_is_read_as_it_is(half: str) -> None:
    check_rewrite(
        FuseStoredLinear(),
        graph(CAST, MATMUL, half=half),
        f"""w [6, 4] = transpose(w:{half}[4,6], perm=(1, 0))
        y = ai.deltaport.Linear(x, w)""",
        weights(half),
    )


@pytest.mark.parametrize("half", HALVES)
def test_it_computes_the_same(half: str) -> None:
    x = np.random.default_rng(4).standard_normal((2, 5, 4), np.float32)
    check_same_results(FuseStoredLinear(), graph(CAST, MATMUL, half=half), weights(half), {"x": x})


REFUSALS = {
    "another op": graph(CAST, "y = Gemm(x, c)"),
    "the cast is read elsewhere": graph(CAST, MATMUL, "z = Relu(c)",
        header=HEADER.replace("=> (", "=> (float[4,6] z, ")),
    "the cast is a graph output": graph(CAST, MATMUL,
        header=HEADER.replace("=> (", "=> (float[4,6] c, ").replace(" <float[4,6] c>", "")),
    "x is half precision too": graph("c = Cast<to = 16>(w)", MATMUL,
        header=HEADER.replace("float[", "bfloat16[")),
    "cast to something else than x": graph("c = Cast<to = 11>(w)", MATMUL,
        header=HEADER.replace("<float", "<double")),
    "the weight is read elsewhere": graph(CAST, MATMUL, "z = Identity(w)",
        header=HEADER.replace("=> (", "=> (bfloat16[4,6] z, ")),
    "no cast": graph("c = Identity(w)", MATMUL),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str) -> None:
    check_refusal(FuseStoredLinear(), text, weights())


def test_a_weight_that_is_no_matrix_is_left_alone() -> None:
    header = HEADER.replace("[4,6]", "[2,4,6]")
    check_refusal(
        FuseStoredLinear(), graph(CAST, MATMUL, header=header), weights("bfloat16", 2, 4, 6)
    )


def test_what_is_no_weight_is_left_alone() -> None:
    check_refusal(FuseStoredLinear(), graph(CAST, MATMUL), {})


def test_a_weight_that_is_wider_than_float32_is_left_alone() -> None:
    wide = {"w": Source("w", (4, 6), np.dtype(np.float64))}
    check_refusal(FuseStoredLinear(), graph(CAST, MATMUL, half="double"), wide)


def test_a_weight_in_float32_is_left_alone() -> None:
    text = "g (float[B,T,4] x, float[4,6] w) => (float[B,T,6] y) { y = MatMul(x, w) }"
    check_refusal(FuseStoredLinear(), text, {"w": weight("w", 4, 6)})
