"""A product with a weight becomes the op our kernel runs."""

from __future__ import annotations

import numpy as np
import pytest

from deltaport.graph_passes.lower.lower_to_linear import LowerToLinear
from deltaport.graph_passes.recipes.recipe import Source
from tests.passes.rewrite_check import check_refusal, check_rewrite, check_same_results

HEADER = "g (float[B,T,4] x, float[4,6] w) => (float[B,T,6] y)"
TURNED = "g (float[B,T,4] x, float[6,4] w) => (float[B,T,6] y) <float[4,6] t>"
MATMUL, TRANSPOSE = "y = MatMul(x, w)", "t = Transpose<perm = [1, 0]>(w)"


def graph(*nodes: str, header: str = HEADER) -> str:
    return header + "{\n" + "\n".join(nodes) + "\n}"


def weights(*shape: int) -> dict[str, Source]:
    return {"w": Source("w", shape or (4, 6), np.dtype(np.float32))}


LOGITS = "g (float[R,4] x, KIND[6,4] w) => (float[R,6] y)"
GEMM = graph("y = Gemm<transB = 1>(x, w)", header=LOGITS.replace("KIND", "float"))
STORED_GEMM = graph(
    "c = Cast<to = 1>(w)",
    "y = Gemm<transB = 1>(x, c)",
    header=LOGITS.replace("KIND", "float16") + " <float[6,4] c>",
)
GRAPHS = {
    "as it is stored": (graph(TRANSPOSE, "y = MatMul(x, t)", header=TURNED), (6, 4)),
    "turned": (graph(MATMUL), (4, 6)),
}


def test_a_turned_weight_is_read_as_it_is_stored() -> None:
    check_rewrite(
        LowerToLinear(),
        GRAPHS["as it is stored"][0],
        """w [6, 4] = w:float32[6,4]
        y = ai.deltaport.Linear(x, w)""",
        weights(6, 4),
    )


def test_a_weight_is_turned_by_its_recipe() -> None:
    check_rewrite(
        LowerToLinear(),
        GRAPHS["turned"][0],
        """w [6, 4] = transpose(w:float32[4,6], perm=(1, 0))
        y = ai.deltaport.Linear(x, w)""",
        weights(),
    )


@pytest.mark.parametrize(("text", "shape"), GRAPHS.values(), ids=GRAPHS)
def test_it_computes_the_same(text: str, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(4).standard_normal((2, 5, 4), np.float32)
    check_same_results(LowerToLinear(), text, weights(*shape), {"x": x})


@pytest.mark.parametrize(("text", "kind"), [(GEMM, "float32"), (STORED_GEMM, "float16")])
def test_logits(text: str, kind: str) -> None:
    stored = {"w": Source("w", (6, 4), np.dtype(kind))}
    check_rewrite(
        LowerToLinear(),
        text,
        f"""w [6, 4] = w:{kind}[6,4]
        rows = Unsqueeze(x, const.int64.1.0)
        linear = ai.deltaport.Linear(rows, w)
        y = Squeeze(linear, const.int64.1.0)""",
        stored,
    )
    x = np.random.default_rng(4).standard_normal((5, 4), np.float32)
    check_same_results(LowerToLinear(), text, stored, {"x": x})


ROWS = "g (float[R,4] x, float[6,4] w) => (float[R,6] y)"
REFUSALS = {
    "a weight the other way round": (graph("y = Gemm(x, w)",
        header="g (float[R,4] x, float[4,6] w) => (float[R,6] y)"), (4, 6)),
    "the weight is read elsewhere": (graph(MATMUL, "z = Identity(w)",
        header=HEADER.replace("=> (", "=> (float[4,6] z, ")), (4, 6)),
    "the weight is on the left": (graph("y = MatMul(w, x)"), (4, 6)),
    "no weight": (graph("y = MatMul(x, z)",
        header=HEADER.replace("float[4,6] w", "float[4,6] w, float[4,6] z")), (4, 6)),
    "transposed activations": (graph("y = Gemm<transA = 1, transB = 1>(x, w)",
        header=ROWS.replace("[R,4]", "[4,R]")), (6, 4)),
    "a sum": (graph("y = Gemm<transB = 1>(x, w, c)",
        header=ROWS.replace("w)", "w, float[6] c)")), (6, 4)),
    "scaled": (graph("y = Gemm<transB = 1, alpha = 2.0>(x, w)", header=ROWS), (6, 4)),
}  # fmt: skip


@pytest.mark.parametrize(("text", "shape"), REFUSALS.values(), ids=REFUSALS)
def test_left_alone(text: str, shape: tuple[int, int]) -> None:
    check_refusal(LowerToLinear(), text, weights(*shape))
