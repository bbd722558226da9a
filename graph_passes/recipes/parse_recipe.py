"""Recipes from their text, which may come from anybody. What it is: ``Recipe.describe``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, cast, get_type_hints

import ml_dtypes
import numpy as np

from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.recipes.recipe_kinds import RECIPE_KINDS
from deltaport.graph_passes.recipes.recipe_scanner import RecipeProblem, RecipeScanner

__all__ = ["MOST_PARTS", "RecipeProblem", "parse_recipe"]

MOST_PARTS = 1 << 20
"""Recipes one may be made of, tensors included: a range makes many of few characters."""
_DEEPEST = 64
_DTYPES = {
    np.dtype(kind).name: np.dtype(kind) for kind in (np.float32, np.float16, ml_dtypes.bfloat16)
}
_NAME = re.compile(r"[A-Za-z0-9_.{}]+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_PLACE = re.compile(r"\{([^{}]*)\}|[{}]")
_RANGE = re.compile(r"([a-z])=([0-9]{1,9})\.\.([0-9]{1,9}):")
_NEXT_PART = re.compile(r",(?![ \n]*[a-z_]+=)")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")

_Counted = Mapping[str, int]
"""What stands for ``{i}`` in names."""


def parse_recipe(text: str, *, most_parts: int = MOST_PARTS) -> Recipe:
    """The recipe whose ``describe`` gives ``text``; spaces between words are free.

    Raises :class:`RecipeProblem` for anything else, and for a recipe made of more than
    ``most_parts`` recipes or nested more deeply than any real one.
    """
    parser = _Parser(text, most_parts)
    recipe = parser.recipe({}, 0)
    if parser.at < len(text):
        parser.fail("expected nothing more")
    return recipe


class _Parser(RecipeScanner):
    """A method for everything that a text may be made of."""

    def __init__(self, text: str, most_parts: int) -> None:
        super().__init__(text)
        self._parts_left = most_parts

    def recipe(self, counted: _Counted, depth: int) -> Recipe:
        """A tensor with dtype and shape, or a kind of recipe with its arguments."""
        begin = self.at
        self._parts_left -= 1
        if self._parts_left < 0:
            self.fail("there are more parts before it than any real weight has")
        if depth > _DEEPEST:
            self.fail(f"it is nested {depth} recipes deep, deeper than any real one")
        if (quoted := self.found(_QUOTED)) is not None:
            return self._source(self._unquoted(quoted[0], begin), begin)
        word = self.expect(_NAME, "the name of a tensor or a kind of recipe")
        if not self.found_text("("):
            return self._source(self._numbered(word, counted, begin), begin)
        if word not in RECIPE_KINDS:
            self.fail(f"expected one of {', '.join(RECIPE_KINDS)}", begin)
        kind = cast(Callable[..., Recipe], RECIPE_KINDS[word])
        arguments = list(self._arguments(RECIPE_KINDS[word], counted, depth))
        self.expect_text(")")
        return self._made(lambda: kind(*arguments), begin)

    def _arguments(self, kind: type[Recipe], counted: _Counted, depth: int) -> Iterator[object]:
        """What the fields of the class are to be."""
        for i, (name, wanted) in enumerate(_fields(kind)):
            if i:
                self.expect_text(",")
            if wanted in (int, tuple[int, ...]):
                self.expect_text(f"{name}=")
                yield self.whole() if wanted is int else self.wholes("(", ")")
            elif wanted is Recipe:
                yield self.recipe(counted, depth + 1)
            elif wanted == tuple[Recipe, ...]:
                yield tuple(self._parts(counted, depth + 1))
            elif wanted is float:
                yield float(self.expect(_NUMBER, "a number"))
            else:
                yield self._dtype()

    def _parts(self, counted: _Counted, depth: int) -> Iterator[Recipe]:
        """Recipes one after another, or one text for all numbers of a range."""
        begin = self.at
        found = self.found(_RANGE)
        if found is None:
            yield self.recipe(counted, depth)
            while self.found(_NEXT_PART):
                yield self.recipe(counted, depth)
            return
        letter, numbers = found[1], range(int(found[2]), int(found[3]) + 1)
        if letter in counted or not numbers:
            self.fail("the range is empty, or its letter stands for another already", begin)
        template = self.at
        for number in numbers:
            self.at = template
            yield self.recipe({**counted, letter: number}, depth)

    def _source(self, name: str, begin: int) -> Recipe:
        self.expect_text(":")
        dtype = self._dtype()
        shape = self.wholes("[", "]")
        return self._made(lambda: Source(name, shape, dtype), begin)

    def _dtype(self) -> np.dtype[Any]:
        begin = self.at
        name = self.expect(_NAME, "a dtype")
        if name not in _DTYPES:
            self.fail(f"expected a dtype, one of {', '.join(_DTYPES)}", begin)
        return _DTYPES[name]

    def _unquoted(self, text: str, begin: int) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            self.fail("expected a string as in JSON", begin)

    def _numbered(self, name: str, counted: _Counted, begin: int) -> str:
        """The name with a number in every place for one."""

        def number(place: re.Match[str]) -> str:
            if place[1] not in counted:
                self.fail(f"{place[0]} stands for no number of a range", begin)
            return str(counted[place[1]])

        return _PLACE.sub(number, name)

    def _made(self, make: Callable[[], Recipe], begin: int) -> Recipe:
        """What is made of parts that were read, but may not fit each other."""
        try:
            return make()
        except ValueError as problem:
            self.fail(str(problem), begin)


@cache
def _fields(kind: type[Recipe]) -> list[tuple[str, Any]]:
    """Names and types of what the class is made from."""
    types = get_type_hints(kind)
    return [(field.name, types[field.name]) for field in fields(cast(Any, kind)) if field.init]
