"""Recipes as text: exact, so that it can be read back, and refused where it is no recipe's."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.graph_passes import recipes
from deltaport.graph_passes.recipes.arithmetic_recipes import Scale, Shift
from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.interleave_recipe import Interleave
from deltaport.graph_passes.recipes.layout_recipes import Concat, Slice, Squeeze, Stack, Transpose
from deltaport.graph_passes.recipes.parse_recipe import RecipeProblem, parse_recipe
from deltaport.graph_passes.recipes.recipe import Recipe, Source, UnaryRecipe
from deltaport.graph_passes.recipes.recipe_kinds import RECIPE_KINDS
from deltaport.graph_passes.recipes.unsqueeze_recipe import Unsqueeze

F32, BF16 = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)


def source(name: str, *shape: int, dtype: Any = F32) -> Source:
    return Source(name, shape, dtype)


def experts(*numbers: int, name: str = "e.{}.up") -> tuple[Source, ...]:
    return tuple(source(name.format(number), 4, 3) for number in numbers)


A = source("model.a", 4, 3)
LAYERS = tuple(Stack(experts(*range(8), name=f"{layer}.e.{{}}.up")) for layer in range(3, 9))

TEXTS: list[tuple[Recipe, str]] = [
    (source("model.norm.weight", 64, dtype=BF16), "model.norm.weight:bfloat16[64]"),
    (source("scalar"), "scalar:float32[]"),
    (source("7", 0), "7:float32[0]"),
    (source("", 2), '"":float32[2]'),
    (source('ein "Maß"\\n{i}\n', 2), '"ein \\"Ma\\u00df\\"\\\\n{i}\\n":float32[2]'),
    (Cast(A, BF16), "cast(model.a:float32[4,3], bfloat16)"),
    (Transpose(A, (1, 0)), "transpose(model.a:float32[4,3], perm=(1, 0))"),
    (Transpose(source("s"), ()), "transpose(s:float32[], perm=())"),
    (Transpose(source("v", 5), (0,)), "transpose(v:float32[5], perm=(0,))"),
    (Slice(A, 1, 0, 2), "slice(model.a:float32[4,3], axis=1, start=0, stop=2)"),
    (Squeeze(Stack((A,)), 0), "squeeze(stack(model.a:float32[4,3]), axis=0)"),
    (Unsqueeze(A, 2), "unsqueeze(model.a:float32[4,3], axis=2)"),
    (Interleave(A, 0), "interleave(model.a:float32[4,3], axis=0)"),
    (Shift(A, 1.0), "shift(model.a:float32[4,3], 1.0)"),
    (Scale(A, -1e-30), "scale(model.a:float32[4,3], -1.0000000031710769e-30)"),
    (Concat((A, A), 0), "concat(model.a:float32[4,3], model.a:float32[4,3], axis=0)"),
    (Stack(experts(*range(512))), "stack(i=0..511: e.{i}.up:float32[4,3])"),
    (Concat(experts(9, 10, 11, 12), 1), "concat(i=9..12: e.{i}.up:float32[4,3], axis=1)"),
    (
        Stack(tuple(Concat(experts(n, name="1.{}.a") + experts(n), 0) for n in range(7))),
        "stack(i=0..6: concat(1.{i}.a:float32[4,3], e.{i}.up:float32[4,3], axis=0))",
    ),
    (Stack(LAYERS), "stack(j=3..8: stack(i=0..7: {j}.e.{i}.up:float32[4,3]))"),
]


@pytest.mark.parametrize(("recipe", "text"), TEXTS, ids=[text[:40] for _, text in TEXTS])
def test_what_it_reads_like(recipe: Recipe, text: str) -> None:
    assert recipe.describe() == text
    assert parse_recipe(text) == recipe


NO_RANGE = {
    "few": experts(0, 1, 2),
    "alike": experts(1, 1, 1, 1),
    "not upwards": experts(3, 2, 1, 0),
    "a gap": experts(0, 1, 2, 4),
    "leading zeros": tuple(source(f"e.{i:02}", 4, 3) for i in range(4)),
    "two numbers": tuple(source(f"e.{i}.{i + 1}", 4, 3) for i in range(4)),
    "another name": (*experts(0, 1, 2), source("f.3.up", 4, 3)),
    "longer names": (*experts(0, 1, 2), source("e.3.up.4", 4, 3)),
    "quoted names": experts(0, 1, 2, 3, name="e-{}"),
    "letters": tuple(source(f"e.{letter}", 4, 3) for letter in "0abc"),
    "numbers too long": experts(*range(10**9, 10**9 + 4)),
    "another kind": (*experts(0, 1, 2), Cast(source("e.3.up", 4, 3, dtype=BF16), F32)),
}


@pytest.mark.parametrize("parts", NO_RANGE.values(), ids=NO_RANGE)
def test_parts_without_a_pattern_are_all_listed(parts: tuple[Recipe, ...]) -> None:
    recipe = Stack(parts)
    assert recipe.describe() == f"stack({', '.join(part.describe() for part in parts)})"
    assert parse_recipe(recipe.describe()) == recipe


def test_only_names_are_counted() -> None:
    parts = tuple(Slice(source(f"e.{i}", 9), 0, i, i + 2) for i in range(5))
    assert "i=0.." not in Concat(parts, 0).describe()
    assert parse_recipe(Concat(parts, 0).describe()) == Concat(parts, 0)


@st.composite
def any_recipe(draw: Callable[[Any], Any], depth: int = 3) -> Recipe:
    """Any tree of recipes that fit each other."""
    shape = tuple(draw(st.lists(st.integers(0, 3).map(lambda half: 2 * half), max_size=3)))
    return draw(recipe_of(shape, draw(st.sampled_from([F32, BF16])), depth))


@st.composite
def recipe_of(
    draw: Callable[[Any], Any], shape: tuple[int, ...], dtype: np.dtype[Any], depth: int
) -> Recipe:
    names = st.from_regex(r"[a-z0-9._]{1,8}", fullmatch=True) | st.text(max_size=6)
    if depth == 0:
        return Source(draw(names), shape, dtype)

    def inner(*size: int, dtype: np.dtype[Any] = dtype) -> Recipe:
        return draw(recipe_of(size, dtype, depth - 1))

    rank = len(shape)
    axis = draw(st.integers(0, rank - 1)) if rank else 0
    kinds = ["cast", "transpose", "squeeze"] + ["shift", "scale"] * (dtype == F32)
    kinds += ["slice", "concat", "interleave"] * (rank > 0) + ["stack", "range"] * (
        shape[:1] > (0,)
    )
    kinds += ["unsqueeze"] * (1 in shape)
    match draw(st.sampled_from(kinds)):
        case "cast":
            return Cast(inner(*shape, dtype=draw(st.sampled_from([F32, BF16]))), dtype)
        case "transpose":
            perm = tuple(draw(st.permutations(range(rank))))
            return Transpose(inner(*(shape[perm.index(i)] for i in range(rank))), perm)
        case "squeeze":
            at = draw(st.integers(0, rank))
            return Squeeze(inner(*shape[:at], 1, *shape[at:]), at)
        case "unsqueeze":
            at = shape.index(1)
            return Unsqueeze(inner(*shape[:at], *shape[at + 1 :]), at)
        case "interleave" if shape[axis] % 2 == 0:
            return Interleave(inner(*shape), axis)
        case "shift" | "scale" as kind:
            by = draw(st.floats(width=32, allow_nan=False, allow_infinity=False))
            return (Shift if kind == "shift" else Scale)(inner(*shape), by)
        case "concat":
            cut = draw(st.integers(0, shape[axis]))
            sizes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in (cut, shape[axis] - cut)]
            return Concat(tuple(inner(*size) for size in sizes), axis)
        case "stack":
            return Stack(tuple(inner(*shape[1:]) for _ in range(shape[0])))
        case "range":
            start, name = draw(st.integers(0, 120)), draw(names)
            numbers = range(start, start + shape[0])
            return Stack(tuple(Source(f"{name}{i}.w", shape[1:], dtype) for i in numbers))
        case _:
            start, more = draw(st.integers(0, 3)), draw(st.integers(0, 3))
            size = start + shape[axis] + more if rank else 0
            if not rank:
                return Source(draw(names), shape, dtype)
            whole = inner(*shape[:axis], size, *shape[axis + 1 :])
            return Slice(whole, axis, start, start + shape[axis])


@settings(max_examples=300, derandomize=True, deadline=None)
@given(any_recipe())
def test_any_recipe_is_read_back(recipe: Recipe) -> None:
    text = recipe.describe()
    assert text.isascii()
    assert text.isprintable()
    assert parse_recipe(text) == recipe
    if '"' not in text:
        assert parse_recipe(text.replace(",", " ,\n ").replace(")", " ) ")) == recipe


def test_every_kind_is_registered() -> None:
    for module in pkgutil.iter_modules(recipes.__path__, f"{recipes.__name__}."):
        importlib.import_module(module.name)

    def below(kind: type[Any]) -> set[type[Any]]:
        return {kind, *(each for sub in kind.__subclasses__() for each in below(sub))}

    concrete = {kind for kind in below(Recipe) if "kind" in vars(kind)}
    assert concrete == set(RECIPE_KINDS.values())
    assert {kind.__name__.lower() for kind in concrete} == set(RECIPE_KINDS)
    assert all(fields(kind) for kind in concrete)  # type: ignore[arg-type]
    assert UnaryRecipe not in concrete


HOSTILE = {
    "nothing": ("", "at character 1 (the end): expected the name of a tensor"),
    "no dtype": ("x", "at character 2 (the end): expected ':'"),
    "an unknown dtype": ("x:float64[1]", "at character 3 ('float64[1]'): expected a dtype, one of"),
    "no end": ("x:float32[1", "at character 12 (the end): expected ']'"),
    "more than one": ("x:float32[1] y", "at character 14 ('y'): expected nothing more"),
    "a negative size": ("x:float32[-1]", "at character 11 ('-1]'): expected a whole number"),
    "a huge size": (f"x:float32[{'9' * 5000}]", "expected a whole number of at most 18 digits"),
    "an unknown kind": (
        "negate(x:float32[1])",
        "at character 1 ('negate(x:float32[1])'): expected",
    ),
    "another axis": ("squeeze(x:float32[1], axis=1)", "squeeze: axis 1 is not one of 1 axes"),
    "another argument": ("squeeze(x:float32[1], dim=0)", "('dim=0)'): expected 'axis='"),
    "parts that do not fit": ("stack(x:float32[1], y:float32[2])", "stack: shapes (1,) and (2,)"),
    "no parts": ("stack()", "at character 7 (')'): expected the name of a tensor"),
    "no finite number": ("shift(x:float32[1], 1e39)", "no finite float32"),
    "no number": ("shift(x:float32[1], nan)", "at character 21 ('nan)'): expected a number"),
    "an empty range": ("stack(i=3..2: a{i}:float32[1])", "the range is empty"),
    "a letter used twice": (
        "stack(i=0..3: stack(i=0..3: a{i}:float32[1]))",
        "its letter stands for another already",
    ),
    "no range": ("stack(a{i}:float32[1])", "{i} stands for no number of a range"),
    "half a place": ("a{:float32[1]", "{ stands for no number of a range"),
    "an open string": ('"a:float32[1]', "expected the name of a tensor"),
    "a bad escape": (r'"\x":float32[1]', "expected a string as in JSON"),
    "a control character": ("x\0:float32[1]", r"('\x00:float32[1]'): expected ':'"),
    "nested without end": ("cast(" * 100_000, "nested 65 recipes deep, deeper than any real one"),
}


@pytest.mark.parametrize(("text", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_recipe_is_refused(text: str, problem: str) -> None:
    with pytest.raises(RecipeProblem, match=re.escape(problem)) as refused:
        parse_recipe(text)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        "stack(i=0..999999999: a{i}:float32[1])",
        "stack(i=0..9999: stack(j=0..9999: a{i}.{j}:float32[1]))",
        f"stack({'a:float32[1],' * 6000})",
    ],
)
def test_memory_is_bounded(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(RecipeProblem, match="more parts before it than any real weight has"):
        parse_recipe(text, most_parts=5000)
    assert time.monotonic() - start < 5
    assert len(list(parse_recipe("stack(i=0..4998: a{i}:float32[1])", most_parts=5000).sources()))
