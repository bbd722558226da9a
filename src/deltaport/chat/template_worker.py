"""Renders chat templates in a process of its own; ``template_process`` starts and watches it.

A template is a program by a stranger. jinja2's sandbox keeps it away from Python's internals, but
not from endless loops and endless strings: so it runs here, where limits of the system hold, and
where all it could take down is this process.

The file is run as a script, with neither ``site`` nor deltaport on the path: standard library and
jinja2 alone. A line of JSON on stdin asks for a text, a line on stdout gives it, or says why not.
Both are UTF-8 with surrogates left as they are: what the conversation holds passes unchanged.

The environment is that of transformers 5.23 (``utils/chat_template_utils.py``), so that templates
give the same text.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

__all__ = ["MEMORY_LIMIT", "main", "render"]

MEMORY_LIMIT = 512 << 20
"""Bytes of address space this process may take: python and jinja2 need a tenth of it."""

_LIMITS = {
    "RLIMIT_AS": MEMORY_LIMIT,
    # What a template has no business with, should one ever leave the sandbox.
    "RLIMIT_FSIZE": 0,
    "RLIMIT_NPROC": 0,
    "RLIMIT_CORE": 0,
}
_LONGEST_MESSAGE = 400


class RefusedError(TemplateError):
    """The template called ``raise_exception``."""


class TooLongError(Exception):
    """The text outgrew its limit."""


def main() -> None:
    """Answer requests until stdin ends."""
    _limit()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    for line in requests:
        request = json.loads(line.decode("utf-8", "surrogatepass"))
        # Should the parent be gone, nobody else ends a template that does not.
        with _alarm(request["seconds"]):
            answer = _answer(request)
            data = json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass")
        answers.write(data + b"\n")
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"text": render(request["template"], request["variables"], request["longest"])}
    except RefusedError as error:
        return {"problem": "refused", "message": _bounded(error)}
    except TemplateSyntaxError as error:
        return {"problem": "syntax", "message": _bounded(error.message), "line": error.lineno}
    except TooLongError:
        return {"problem": "length", "message": ""}
    except MemoryError:
        return {"problem": "memory", "message": ""}
    except Exception as error:  # a template can make Python raise whatever it likes
        kind = "security" if isinstance(error, SecurityError) else "failed"
        message = f"{type(error).__name__}: {_bounded(error)}"
        return {"problem": kind, "message": message, "line": _line(error)}


def render(template: str, variables: dict[str, Any] | None, longest: int) -> str:
    """The text of a template, or without ``variables`` nothing: it is then compiled only.

    Raises ``TooLongError`` beyond ``longest`` characters, and whatever the template makes jinja2
    or Python raise.
    """
    compiled = _compile(template)
    if variables is None:
        return ""
    parts: list[str] = []
    length = 0
    for part in compiled.generate(variables):
        length += len(part)
        if length > longest:
            raise TooLongError
        parts.append(part)
    return "".join(parts)


@lru_cache(maxsize=4)
def _compile(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return environment.from_string(template)


class _Generation(Extension):
    """``{% generation %}``, which marks what a model is trained on: here it is just its body."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A call block, as in transformers: what the body sets stays inside.
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> Any:
        return caller()


class _Dict:
    """``dict`` without the class's own attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """``namespace``, which takes no name that begins with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with an underscore: {name!r}")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: jinja2's own filter escapes what HTML would not take."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: Any) -> None:
    raise RefusedError(message)


def _strftime_now(format: str) -> str:  # noqa: A002 - templates may name the argument
    return datetime.now().strftime(format)


def _bounded(error: object) -> str:
    try:
        return str(error)[:_LONGEST_MESSAGE]
    except Exception:  # its text may be as wild as the template
        return "no message"


def _line(error: BaseException) -> int | None:
    """The template's line that failed: jinja2 puts it into the traceback."""
    line = None
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows: the parent's clock and its limit on answers hold
        return
    for name, most in _LIMITS.items():
        # macOS knows limits it refuses to set; the others hold.
        with suppress(AttributeError, ValueError, OSError):
            number = getattr(resource, name)
            resource.setrlimit(number, (most, most))


class _alarm:  # noqa: N801 - reads as the statement it is
    """End this process, by the system and without Python's doing, when ``seconds`` have passed."""

    def __init__(self, seconds: float) -> None:
        self._set: Callable[..., object] | None = getattr(signal, "setitimer", None)
        self._seconds = seconds

    def __enter__(self) -> None:
        if self._set:
            self._set(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        if self._set:
            self._set(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
