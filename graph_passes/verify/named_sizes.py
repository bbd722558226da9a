"""Sizes that shapes name: ``B,T,2*Hk*Dk+Hv*Dv`` for every port of one call."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from deltaport.graph_passes.verify.tensor_types import Shape, shape_text

__all__ = ["PortShape", "contradiction"]

_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class PortShape(NamedTuple):
    """A port, its shape in names, and the shape of the value it is given or gives."""

    port: str
    names: str
    shape: Shape | None


class _Size(NamedTuple):
    port: str
    axis: int
    text: str
    size: int


def contradiction(ports: Iterable[PortShape]) -> str | None:
    """What is wrong with the shapes of one call, None if nothing is.

    A name stands for one number at all ports. Names that nothing but an expression tells are
    solved for, where they are the only unknown of it.
    """
    sizes: list[_Size] = []
    for port, names, shape in ports:
        texts = names.split(",")
        if shape is None:
            continue
        if len(shape) != len(texts):
            return f"{port}: shape {shape_text(shape)}, expected [{names}]"
        sizes += [
            _Size(port, axis, text, size)
            for axis, (text, size) in enumerate(zip(texts, shape, strict=True))
            if isinstance(size, int)
        ]
    return _first_conflict(sizes)


def _first_conflict(sizes: list[_Size]) -> str | None:
    known: dict[str, int] = {}
    pending = sorted(sizes, key=lambda size: not size.text.isidentifier())
    while pending:
        left = []
        for each in pending:
            unknown = set(_names(each.text) - known.keys())
            if len(unknown) > 1:
                left.append(each)
                continue
            problem = _check(each, known) if not unknown else _solve(each, unknown.pop(), known)
            if problem is not None:
                return f"{each.port}: axis {each.axis} is {each.size}, {problem}"
        if len(left) == len(pending):
            break
        pending = left
    return None


def _check(each: _Size, known: Mapping[str, int]) -> str | None:
    expected = _evaluate(each.text, known)
    if expected == each.size:
        return None
    return f"expected {each.text} = {expected}"


def _solve(each: _Size, name: str, known: dict[str, int]) -> str | None:
    """Learn ``name``, in which every expression is linear."""
    offset = _evaluate(each.text, {**known, name: 0})
    slope = _evaluate(each.text, {**known, name: 1}) - offset
    if slope == 0:  # some other size is 0
        return None
    solution = (each.size - offset) / slope
    if solution < 0 or solution.denominator != 1:
        given = ", ".join(f"{n} = {known[n]}" for n in sorted(_names(each.text) - {name}))
        return f"expected {each.text} with {given}"
    known[name] = int(solution)
    return None


@cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@cache
def _names(text: str) -> frozenset[str]:
    return frozenset(part.id for part in ast.walk(_parsed(text)) if isinstance(part, ast.Name))


def _evaluate(text: str, sizes: Mapping[str, int]) -> Fraction:
    def value(part: ast.expr) -> Fraction:
        match part:
            case ast.Name(id=name):
                return Fraction(sizes[name])
            case ast.Constant(value=int(number)):
                return Fraction(number)
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](value(left), value(right))
        raise ValueError(f"{text}: expected sizes, whole numbers, + - * and /")

    return value(_parsed(text))
