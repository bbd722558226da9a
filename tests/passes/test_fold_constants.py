"""What depends on constants alone is computed while compiling, and only that."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from deltaport.graph_passes.fold.fold_constants import FoldConstants
from tests.passes.graph_text import parse_graph, print_graph, weight


def folded(text: str, *, modified: bool = True, **options: int) -> ir.Model:
    weights = {"w": weight("w", 3)} if "float[3] w" in text else {}
    model = parse_graph(text, weights)
    fold = FoldConstants(**options)
    assert fold(model).modified is modified
    once = print_graph(model.graph)
    assert fold(model).modified is False
    assert print_graph(model.graph) == once
    return model


def constants(model: ir.Model) -> dict[str, NDArray[Any]]:
    """Values of the constants nodes read, by name."""
    read = {value for node in model.graph.all_nodes() for value in node.inputs if value is not None}
    return {
        str(value.name): value.const_value.numpy()
        for value in read
        if value.is_initializer() and value.const_value is not None
    }


@pytest.mark.parametrize(
    ("constant", "name", "expected"),
    [
        ("value_int = 3", "const.int64.scalar.3", np.array(3)),
        ("value_ints = [2, -1]", "const.int64.2.2_-1", np.array([2, -1])),
        ("value = int32[1,2] {5, 6}", "const.int32.1x2.5_6", np.array([[5, 6]], np.int32)),
        ("value = bool[2] {1, 0}", "const.bool.2.1_0", np.array([True, False])),
        ("value = uint8 {200}", "const.uint8.scalar.200", np.array(200, np.uint8)),
        ("value_float = 1.5", "const.float32.scalar.*", np.array(1.5, np.float32)),
        ("value_floats = [1.5, -0.0]", "const.float32.2.*", np.array([1.5, -0.0], np.float32)),
        ("value_ints = [1,2,3,4,5,6,7,8]", "const.int64.8.1_2_3_4_5_6_7_8", np.arange(1, 9)),
        ("value_ints = [1,2,3,4,5,6,7,8,9]", "const.int64.9.*", np.arange(1, 10)),
        ("value = int64[0] {}", "const.int64.0.*", np.zeros(0, np.int64)),
    ],
)
def test_a_constant_node_becomes_a_constant(
    constant: str, name: str, expected: NDArray[Any]
) -> None:
    model = folded(
        f"""g (float[N] x) => (float[M] y) {{
            c = Constant<{constant}>()
            y = ai.deltaport.Make(x, c)
        }}"""
    )
    [(found, value)] = constants(model).items()
    assert print_graph(model.graph) == f"y = ai.deltaport.Make(x, {found})"
    assert found.startswith(name.rstrip("*"))
    assert name.endswith("*") or found == name
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
    assert value.tobytes() == expected.tobytes()


FOLDABLE: dict[str, tuple[str, NDArray[Any]]] = {
    "a sum": ("c = Add(two, pair)", np.array([3.0, 5.0], np.float32)),
    "of scalars": ("c = Mul(two, two)", np.array(4.0, np.float32)),
    "a reduction": ("c = ReduceSum<keepdims = 0>(pair)", np.array(4.0, np.float32)),
    "a range": ("c = Range(zero, four, one)", np.arange(4, dtype=np.int64)),
    "an expansion": ("c = Expand(two, shape)", np.full((2, 3), 2, np.float32)),
    "a shape": ("c = Shape(pair)", np.array([2])),
    "a cast": ("c = Cast<to = 16>(pair)", np.array([1, 3], ml_dtypes.bfloat16)),
    "an input left out": ("c = Clip(pair, , two)", np.array([1, 2], np.float32)),
    "a chain": ("a = Neg(pair) b = Exp(a) c = Neg(b)", -np.exp(np.array([-1, -3], np.float32))),
}

KNOWN = """float two = {2}, float[2] pair = {1, 3}, int64[2] shape = {2, 3},
    int64 zero = {0}, int64 one = {1}, int64 four = {4}, float[2] a, float[2] b"""


@pytest.mark.parametrize(("nodes", "expected"), FOLDABLE.values(), ids=FOLDABLE)
def test_an_op_on_constants_becomes_what_it_gives(nodes: str, expected: NDArray[Any]) -> None:
    kind = {"float32": "float", "int64": "int64", "bfloat16": "bfloat16"}[expected.dtype.name]
    shape = "x".join(map(str, expected.shape)).replace("x", ",")
    declared = f"{kind}[{shape}] c" if shape else f"{kind} c"
    model = folded(
        f"""g (float[N] x) => (float[M] y) <{KNOWN}, {declared}> {{
            {nodes}
            y = ai.deltaport.Make(x, c)
        }}"""
    )
    [(found, value)] = constants(model).items()
    assert print_graph(model.graph) == f"y = ai.deltaport.Make(x, {found})"
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(value.astype(np.float64), expected.astype(np.float64), rtol=1e-6)


def test_several_results() -> None:
    model = folded(
        f"""g (float[N] x) => (float[1] y, float[1] z) <{KNOWN}, float[1] p, float[1] q> {{
            p, q = Split<num_outputs = 2>(pair)
            y = Add(x, p)
            z = Add(x, q)
        }}"""
    )
    assert [node.op_type for node in model.graph] == ["Add", "Add"]
    assert sorted(float(value[0]) for value in constants(model).values()) == [1.0, 3.0]


def test_equal_values_are_one_constant() -> None:
    model = folded(
        """g (float[N] x) => (float[N] y) <float z = {1}, float[1] c> {
            a = Constant<value_float = 1.5>()
            b = Constant<value_float = 1.5>()
            c = Constant<value_floats = [1.5]>()
            p = Add(x, a)
            q = Add(p, b)
            y = Add(q, c)
        }"""
    )
    first, second, third = (node.inputs[1] for node in model.graph)
    assert first is second
    assert third is not first


def test_values_that_only_compare_equal_are_two() -> None:
    model = folded(
        """g (float[N] x) => (float[N] y) {
            a = Constant<value_float = 0.0>()
            b = Constant<value_float = -0.0>()
            p = Div(x, a)
            y = Div(p, b)
        }"""
    )
    assert len(constants(model)) == 2


def test_a_branch_reads_what_was_folded_outside() -> None:
    model = folded(
        """g (bool c, float[N] x) => (float[N] y) {
            k = Constant<value_int = 2>()
            y = If (c) <then_branch = p () => (float[N] s) { s = ai.deltaport.Make(x, k) },
                        else_branch = q () => (float[N] t) { t = Neg(x) }>
        }"""
    )
    assert "{s = ai.deltaport.Make(x, const.int64.scalar.2)}" in print_graph(model.graph)


REFUSALS = {
    "it depends on an input": ("c = Neg(x)", "float[2] c"),
    "one of two is an input": ("c = Add(pair, x)", "float[2] c"),
    "it depends on a weight": ("c = Neg(w)", "float[3] c"),
    "it is the shape of a weight": ("c = Shape(w)", "int64[1] c"),
    "of another domain": ("c = ai.deltaport.Neg(pair)", "float[2] c"),
    "with a subgraph": (
        """c = If (yes) <then_branch = p () => (float[2] s) { s = Neg(pair) },
                         else_branch = q () => (float[2] t) { t = Abs(pair) }>""",
        "float[2] c",
    ),
    "chance": ("c = RandomNormalLike(pair)", "float[2] c"),
    "chance by another name": ("c = Multinomial(table)", "int32[1,1] c"),
    "chance by yet another name": ("c = Bernoulli(pair)", "float[2] c"),
    "nothing is known of the result": ("c = Neg(pair)", None),
    "the shape of the result is not known": ("c = Neg(pair)", "float[N] c"),
    "not even its rank is known": ("c = Neg(pair)", "float[] c"),
    "text": ("c = Identity(words)", "string[2] c"),
    "the result is an output of the graph": ("y2 = Neg(pair)  c = Neg(x)", "float[2] c"),
}


@pytest.mark.parametrize(("nodes", "declared"), REFUSALS.values(), ids=REFUSALS)
def test_left_alone(nodes: str, declared: str | None) -> None:
    output = ", float[2] y2" if "y2" in nodes else ""
    text = f"""g (float[2] x, float[3] w) => (float[M] y{output})
        <float[2] pair = {{1, 3}}, float[1,2] table = {{1, 3}}, bool yes = {{1}},
         string[2] words = {{"a", "b"}}{f", {declared}" if declared else ""}> {{
            {nodes}
            y = ai.deltaport.Make(x, c)
        }}"""
    before = print_graph(parse_graph(text, {"w": weight("w", 3)}).graph)
    assert print_graph(folded(text, modified=False).graph) == before


def test_a_result_of_which_only_the_dtype_is_unknown_is_left_alone() -> None:
    text = f"""g (float[N] x) => (float[M] y) <{KNOWN}, float[2] c> {{
        c = Neg(pair)
        y = ai.deltaport.Make(x, c)
    }}"""
    model = parse_graph(text)
    model.graph[0].outputs[0].type = None
    assert not FoldConstants()(model).modified
    assert FoldConstants()(parse_graph(text)).modified


@pytest.mark.parametrize(("max_bytes", "modified"), [(16, True), (15, False), (1, False)])
def test_a_large_result_is_left_alone(max_bytes: int, modified: bool) -> None:
    folded(
        f"""g (float[N] x) => (float[M] y) <{KNOWN}, int64[2] large, float[2] c> {{
            large = Neg(shape)
            c = Cast<to = 1>(large)
            y = ai.deltaport.Make(x, large)
        }}""",
        modified=modified,
        max_bytes=max_bytes,
    )


@pytest.mark.parametrize(("max_bytes", "modified"), [(8, True), (7, False)])
def test_ops_that_give_no_more_than_they_are_given_need_no_known_shape(
    max_bytes: int, modified: bool
) -> None:
    folded(
        f"""g (float[N] x) => (float[M] y) <{KNOWN}> {{
            c = Transpose(pair)
            y = ai.deltaport.Make(x, c)
        }}""",
        modified=modified,
        max_bytes=max_bytes,
    )


def test_a_constant_that_was_there_before_is_no_smaller_for_being_a_node() -> None:
    model = folded(
        """g (float[N] x) => (float[M] y) {
            c = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()
            y = ai.deltaport.Make(x, c)
        }""",
        max_bytes=1,
    )
    assert len(model.graph) == 1


def test_an_error_of_the_op_leaves_as_it_is() -> None:
    with pytest.raises(Exception, match="reshape"):
        folded(
            f"""g (float[N] x) => (float[M] y) <{KNOWN}> {{
                c = Reshape(pair, shape)
                y = ai.deltaport.Make(x, c)
            }}"""
        )
