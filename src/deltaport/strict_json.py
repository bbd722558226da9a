"""Parsing JSON that came from somebody else, strictly and with one-line complaints; and writing it.

Python's ``json`` takes NaN and repeated keys, and fails in several ways on hostile input. Here
every failure is a :class:`JsonProblem` whose text continues a sentence that begins with the file's
name; callers add that name, and raise the error of their kind.
"""

from __future__ import annotations

import json
import math
import reprlib
from typing import Any, NoReturn

__all__ = ["JsonProblem", "finite_only", "one_line", "parse_object", "quote"]

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 2, 200, 80


_KINDS = {list: "a list", str: "a string", int: "a number", float: "a number"} | {
    bool: "a truth value",
    type(None): "null",
}


class JsonProblem(ValueError):  # noqa: N818 - it is a reason, wrapped by whoever raises
    """What is wrong with the JSON, as in "is not valid JSON: ..."."""


def one_line(text: str) -> str:
    """Escape everything that does not print, so that an error stays one printable line."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def quote(value: object) -> str:
    """Return a one-line, printable, bounded ``repr`` of something read from an untrusted file."""
    return _short.repr(value)


def parse_object(data: bytes | str, *, unique_keys: bool = True) -> dict[str, Any]:
    """The JSON object in ``data``, UTF-8 if bytes; raises :class:`JsonProblem` for anything else.

    ``unique_keys=False`` lets the last of repeated keys count, as common JSON readers do.
    """
    try:
        value = json.loads(
            data if isinstance(data, str) else data.decode("utf-8"),
            parse_constant=_reject_constant,
            object_pairs_hook=_unique if unique_keys else None,
        )
    except JsonProblem:
        raise
    except UnicodeDecodeError as error:
        raise JsonProblem(f"is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise JsonProblem(f"is not valid JSON: {error.msg} ({place})") from None
    except ValueError:  # an integer of more digits than Python converts
        raise JsonProblem("holds an integer with too many digits") from None
    except RecursionError:
        raise JsonProblem("is nested too deeply to be real") from None
    if not isinstance(value, dict):
        raise JsonProblem(f"holds {_KINDS[type(value)]}; expected a JSON object")
    return value


def _reject_constant(name: str) -> NoReturn:
    raise JsonProblem(f"contains {name}, which is not JSON; expected finite numbers")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JsonProblem(f"names {one_line(key)[:60]!r} twice in one object")
        found[key] = value
    return found


def finite_only(value: Any) -> Any:
    """``value`` of plain types, with null for the numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {name: finite_only(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_only(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
