"""Passes as text: ``fold-constants{max-bytes=1024}``."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any, get_type_hints

from deltaport.errors import InputError
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.registry import registered_passes
from deltaport.strict_json import quote

__all__ = ["option_texts", "parse_pass", "pass_text", "split_passes"]

_SEPARATOR = re.compile(r",(?![^{}]*\})")
"""A comma that is not between braces."""
_PASS = re.compile(r"(?P<name>[^{}]*)(?:\{(?P<options>[^{}]*)\})?")
_TRUTH = {"true": True, "false": False}


def split_passes(text: str) -> list[str]:
    """The passes of a pipeline; none for an empty text."""
    return [part.strip() for part in _SEPARATOR.split(text)] if text.strip() else []


def parse_pass(text: str) -> GraphPass:
    """The pass written ``name`` or ``name{option=value,...}``; raises ``InputError``."""
    match = _PASS.fullmatch(text.strip())
    if match is None:
        raise InputError(f"pass {quote(text)}: expected NAME or NAME{{OPTION=VALUE,...}}")
    name = match["name"].strip()
    known = registered_passes()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "'deltaport passes' lists them"
        raise InputError(f"pass {quote(name)}: there is no such pass; {hint}")
    given = match["options"] or ""
    options: dict[str, Any] = {}
    for pair in (part for part in given.split(",") if part.strip()):
        key, value = _option(known[name], pair)
        if key in options:
            raise InputError(f"pass {name}: option {quote(_kebab(key))}: given more than once")
        options[key] = value
    return known[name](**options)


def pass_text(graph_pass: GraphPass) -> str:
    """The text of a pass, with the options that are not the default."""
    given = [
        f"{_kebab(field.name)}={_value_text(value)}"
        for field in dataclasses.fields(graph_pass)
        if (value := getattr(graph_pass, field.name)) != field.default
    ]
    return graph_pass.name + (f"{{{','.join(given)}}}" if given else "")


def option_texts(kind: type[GraphPass]) -> list[str]:
    """Options of a pass with their defaults, as ``max-bytes=1024``."""
    return [
        f"{_kebab(field.name)}={_value_text(field.default)}" for field in dataclasses.fields(kind)
    ]


def _option(kind: type[GraphPass], text: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    fields = {_kebab(field.name): field.name for field in dataclasses.fields(kind)}
    where = f"pass {kind.name}: option {quote(key)}"
    if key not in fields:
        raise InputError(f"{where}: unknown; it has {', '.join(fields) or 'no options'}")
    if not equals:
        raise InputError(f"{where}: has no value; write {key}=VALUE")
    wanted = get_type_hints(kind)[fields[key]]
    try:
        return fields[key], _TRUTH[value] if wanted is bool else wanted(value)
    except (KeyError, ValueError):
        raise InputError(f"{where}: {quote(value)} is no {wanted.__name__}") from None


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _value_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
