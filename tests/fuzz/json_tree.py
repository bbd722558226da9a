"""JSON as a tree that can be made wrong in ways ``json.dumps`` would not write.

An object is its list of pairs, so that a key may come twice; a leaf is the text of a value, so that
it need not be one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeAlias

__all__ = ["Leaf", "Object", "Tree", "containers", "parse", "spell"]


class Leaf(str):
    """The text of a value, written as it is."""


class Object(list[tuple[str, "Tree"]]):
    """The pairs of a JSON object."""


Tree: TypeAlias = "Object | list[Tree] | Leaf"


def parse(data: bytes) -> Tree:
    """The tree of well-formed JSON."""
    return _tree(json.loads(data, object_pairs_hook=Object))


def _tree(value: object) -> Tree:
    if isinstance(value, Object):
        return Object((key, _tree(child)) for key, child in value)
    if isinstance(value, list):
        return [_tree(child) for child in value]
    return Leaf(json.dumps(value))


def spell(tree: Tree) -> str:
    """The text of a tree."""
    if isinstance(tree, Leaf):
        return tree
    if isinstance(tree, Object):
        return "{" + ", ".join(f"{json.dumps(key)}: {spell(child)}" for key, child in tree) + "}"
    return "[" + ", ".join(map(spell, tree)) + "]"


def containers(tree: Tree) -> Iterator[Object | list[Tree]]:
    """The tree and everything below it that has children."""
    if isinstance(tree, Leaf):
        return
    yield tree
    for child in tree:
        yield from containers(child[1] if isinstance(child, tuple) else child)
