"""Seeded damage that knows a format: safetensors headers, and chat templates."""

from __future__ import annotations

import json
import re
from random import Random

from tests.fuzz.mutations import mutate_bytes, mutate_json

__all__ = ["mutate_safetensors", "mutate_template"]

_DTYPES = ("F32", "F16", "BF16", "I64", "U8", "F64", "BOOL", "F4", "C64", "f32", "", "NOPE")

_SNIPPETS = [
    *r"""
{% for i in range(10**9) %}{{ i }}{% endfor %}
{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}
{{ 'x' * 10**9 }}
{{ 2 ** 10**9 }}
{{ '%1000000000d' % 1 }}
{{ range(10**9) | list | length }}
{{ messages | tojson(indent=10**9) }}
{{ ''.__class__.__mro__[1].__subclasses__() }}
{{ messages.append(messages) }}
{{ raise_exception('a\nb\x1b[2J' ~ 'x' * 5000) }}
{{ nobody.a.b }}
{{ messages[99].content }}
{{ messages[0]['content'] | upper }}
{{ 1 / 0 }}
{{ none + 1 }}
{% include 'x' %}
{% set x = 1 %}
{% raw %}
{% if %}
{% endfor %}
{#
}}
""".strip().splitlines(),
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
]
"""What is put into a chat template."""


def mutate_template(random: Random, data: bytes) -> bytes:
    """A statement more, less or elsewhere, or damage to the bytes."""
    parts = re.split(r"(\{%.*?%\}|\{\{.*?\}\})", data.decode(), flags=re.DOTALL)
    at, other = (random.randrange(len(parts)) for _ in range(2))
    match random.randrange(6):
        case 0:
            return mutate_bytes(random, data)
        case 1:
            del parts[at]
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case _:
            parts.insert(at, random.choice(_SNIPPETS))
    return "".join(parts).encode()


def mutate_safetensors(random: Random, data: bytes) -> bytes:
    """Lies about the header's length, about tensors, and about where their data are."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    match random.randrange(11):
        case 0:
            lie = random.choice([0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1, len(data)])
            return lie.to_bytes(8, "little") + data[8:]
        case 1:
            return data[: random.randrange(len(data))]
        case 2:
            return data + b"\x00" * random.choice([1, 8, 4096])
        case 3 | 4:
            header = mutate_json(random, header)
        case 5:
            header = mutate_bytes(random, header)
        case 6:  # harmless: spaces at the end, and any order
            table = list(json.loads(header).items())
            header = json.dumps(dict(random.sample(table, len(table)))).encode() + b"  "
        case _:
            header = _lie_about_a_tensor(random, header)
    return len(header).to_bytes(8, "little") + header + body


def _lie_about_a_tensor(random: Random, header: bytes) -> bytes:
    table = json.loads(header)
    names = [name for name in table if name != "__metadata__"]
    name, other = random.choice(names), random.choice(names)
    tensor = table[name]
    begin, end = tensor["data_offsets"]
    size = random.choice([0, 1, -1, 2**31, 2**62, 2**63, end])
    match random.randrange(8):
        case 0:
            tensor["dtype"] = random.choice(_DTYPES)
        case 1:
            tensor["shape"] = [size, *tensor["shape"][1:]]
        case 2:
            tensor["shape"] = random.choice(
                [[], [1] * 40, tensor["shape"][::-1], [0, 2**62, 2**62]]
            )
        case 3:
            tensor["data_offsets"] = [begin + random.choice([-8, 1, 8, 2**40]), end]
        case 4:
            tensor["data_offsets"] = random.choice([[end, begin], [begin, size], [begin], [0, 0]])
        case 5:
            tensor["data_offsets"] = table[other]["data_offsets"]
        case 6:
            table[name], table[other] = table[other], tensor
        case _:
            table["model.layers.0.new\x1b.weight"] = table.pop(name)
    return json.dumps(table).encode()
