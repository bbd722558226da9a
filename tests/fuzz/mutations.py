"""Seeded damage: every function takes a random generator and well-formed bytes, and breaks them.

The same generator state gives the same bytes, so a failure is found again by its seed.
"""

from __future__ import annotations

import json
from random import Random

from tests.fuzz.json_tree import Leaf, Object, Tree, containers, parse, spell

__all__ = ["mutate_bytes", "mutate_json"]

_DEEP = 50_000
VALUES = (
    # of another type
    *("null", "true", "false", "0", "1", "-1", '""', '"x"', "[]", "{}", "[[]]", '{"a": 1}'),
    # extreme numbers, and what Python takes for one
    *("0.5", "-0.0", "1e308", "-1e308", "1e999", "5e-324", "NaN", "Infinity", "-Infinity"),
    *(str(sign * 2**bits + by) for sign in (1, -1) for bits in (31, 32, 63, 64) for by in (-1, 0)),
    "9" * 5000,
    # text that is long, unprintable, half a character, or a path
    *('"' + "x" * 100_000 + '"', r'"\ud800"', r'"\udfff\ud800"'),
    *(r'"\u0000"', r'"\u001b[2J"', r'"a\nb"'),
    *('"../../etc/passwd"', '"/dev/zero"', r'"..\\.."', '"."', '"CON"', '"\u202e\U0001f98a"'),
    # nested out of all proportion, closed and not
    "[" * _DEEP + "]" * _DEEP,
    '{"a":' * _DEEP + "1" + "}" * _DEEP,
    "[" * _DEEP,
    "[" + "0," * 20_000 + "0]",
)
"""What a value is replaced by."""


def mutate_bytes(random: Random, data: bytes) -> bytes:
    """Damage that knows nothing of what the bytes mean."""
    at = random.randrange(len(data) + 1)
    other = random.randrange(len(data) + 1)
    low, high = min(at, other), max(at, other)
    noise = random.choice([b"\xff\xfe", b"\x00", b"\xc3", b"\xed\xa0\x80", b'"', b"}", b"{", b","])
    match random.randrange(8):
        case 0:
            return data[:at]
        case 1:
            flipped = bytearray(data)
            for _ in range(random.randint(1, 8)):
                flipped[random.randrange(len(data))] ^= 1 << random.randrange(8)
            return bytes(flipped)
        case 2:
            return data[:at] + noise * random.choice([1, 2, 1000]) + data[at:]
        case 3:
            return data[:low] + data[high:]
        case 4:
            return data[:high] + data[low:]
        case 5:
            return b"\xef\xbb\xbf" + data
        case 6:
            return data.decode("latin-1").encode(random.choice(["utf-16", "utf-32"]))
        case _:
            return random.choice([b"", b"\x00" * 64, random.randbytes(200), data + data])


def mutate_json(random: Random, data: bytes) -> bytes:
    """One to three changes to the values, keys and structure of a JSON document."""
    if random.random() < 0.15:
        return mutate_bytes(random, data)
    tree = parse(data)
    for _ in range(random.choice([1, 1, 2, 3])):
        tree = _change(random, tree)
    return spell(tree).encode()


def _change(random: Random, tree: Tree) -> Tree:
    """Change the tree somewhere: near the root as likely as deep down."""
    place, path = tree, [tree]
    while not isinstance(place, Leaf) and place and random.random() < 0.7:
        child = random.choice(place)
        place = child[1] if isinstance(child, tuple) else child
        path.append(place)
    inside = [step for step in path if not isinstance(step, Leaf) and step]
    if not inside:
        return Leaf(random.choice(VALUES))
    parent = inside[-1]
    at = random.randrange(len(parent))
    if isinstance(parent, Object):
        _change_pair(random, parent, at, tree)
    else:
        _change_item(random, parent, at)
    return tree


def _change_pair(random: Random, pairs: Object, at: int, tree: Tree) -> None:
    key, value = pairs[at]
    match random.randrange(9):
        case 0:
            del pairs[at]
        case 1:
            pairs.append((key, random.choice([value, Leaf(random.choice(VALUES))])))
        case 2:
            named = json.loads(random.choice([v for v in VALUES if v.startswith('"')]))
            pairs[at] = (random.choice([named, key.upper(), key + "_", key[:-1]]), value)
        case 3:
            other = random.randrange(len(pairs))
            pairs[at], pairs[other] = (key, pairs[other][1]), (pairs[other][0], value)
        case 4:
            objects = [found for found in containers(tree) if isinstance(found, Object)]
            random.choice(objects).append((key, Leaf(random.choice(VALUES))))
        case _:
            pairs[at] = (key, _other_value(random, value))


def _change_item(random: Random, items: list[Tree], at: int) -> None:
    match random.randrange(5):
        case 0:
            del items[at]
        case 1:
            items.insert(at, items[at])
        case 2:
            random.shuffle(items)
        case _:
            items[at] = _other_value(random, items[at])


def _other_value(random: Random, value: Tree) -> Tree:
    """Another value, near the old one where that is a number of ordinary size."""
    if not isinstance(value, Leaf) or random.random() < 0.6 or value in VALUES:
        return Leaf(random.choice(VALUES))
    if value.startswith('"'):
        return Leaf(json.dumps(json.loads(value)[::-1]))
    number = json.loads(value)
    near = [number - 1, number + 1, number * 2, number // 2, number / 3, -number, number * 1000]
    return Leaf(random.choice([repr(n) for n in near] + [f'"{value}"']))
