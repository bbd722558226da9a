"""What is found in the shapes of one call, whose sizes have names and expressions of names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaport.graph_passes.verify.named_sizes import PortShape, contradiction
from deltaport.graph_passes.verify.tensor_types import Shape

SIZES = st.integers(0, 50)


def ports(*given: tuple[str, Shape | None]) -> list[PortShape]:
    return [PortShape(f"p{i}", names, shape) for i, (names, shape) in enumerate(given)]


@given(SIZES, SIZES, SIZES, st.permutations(range(4)))
def test_sizes_that_have_one_solution_agree_in_any_order(
    hk: int, d: int, i: int, order: list[int]
) -> None:
    shapes = ports(
        ("B,2*Hk*D+I", ("batch", 2 * hk * d + i)), ("I,D", (i, d)), ("Hk", (hk,)), ("I/1", (None,))
    )
    assert contradiction([shapes[each] for each in order]) is None


@given(SIZES, SIZES, SIZES, st.integers(-5, 5).filter(bool))
def test_one_size_that_is_off_is_told(hk: int, d: int, i: int, off: int) -> None:
    wrong = 2 * hk * d + i + off
    found = contradiction(ports(("2*Hk*D+I", (wrong,)), ("Hk", (hk,)), ("D,I", (d, i))))
    assert found == f"p0: axis 0 is {wrong}, expected 2*Hk*D+I = {2 * hk * d + i}"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([("A,B", (1,))], "p0: shape [1], expected [A,B]"),
        ([("A", ("n", None))], "p0: shape [n,?], expected [A]"),
        ([("A", (3,)), ("A", (4,))], "p1: axis 0 is 4, expected A = 3"),
        # An expression tells of a name that nothing else does.
        ([("2*I", (7,))], "p0: axis 0 is 7, expected 2*I with "),
        ([("K-1", (3,)), ("K", (5,))], "p0: axis 0 is 3, expected K-1 = 4"),
        ([("K-1", (3,)), ("2*K", (10,))], "p1: axis 0 is 10, expected 2*K = 8"),
        ([("R/2", (3,)), ("D-R", (5,)), ("D", (10,))], "p1: axis 0 is 5, expected D-R = 4"),
        ([("A+B", (3,)), ("A", (5,))], "p0: axis 0 is 3, expected A+B with A = 5"),
        # Two unknowns tell nothing until one is known.
        ([("A*B", (6,)), ("A+C", (5,)), ("C", (2,)), ("B", (3,))],
         "p1: axis 0 is 5, expected A+C = 4"),
    ],
)  # fmt: skip
def test_contradictions(given: list[tuple[str, Shape | None]], problem: str) -> None:
    assert contradiction(ports(*given)) == problem


@pytest.mark.parametrize(
    "given",
    [
        [("A", None), ("A", (3,))],
        [("A", ("n",)), ("A", (3,)), ("A", (None,))],
        [("A*B", (6,)), ("A+B", (99,))],  # two unknowns: not solved for
        [("A*B", (0,)), ("A", (0,))],  # any B does
        [("R/2", (3,)), ("R", (6,))],
        [("K-1", (0,)), ("K", (1,))],
    ],
)
def test_no_contradiction(given: list[tuple[str, Shape | None]]) -> None:
    assert contradiction(ports(*given)) is None


def test_what_is_no_expression_of_sizes_is_an_error_of_the_definition() -> None:
    with pytest.raises(ValueError, match="expected sizes, whole numbers"):
        contradiction(ports(("max(A)", (3,)), ("A", (3,)), ("max", (3,))))
