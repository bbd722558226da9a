"""Reading JSON configuration field by field, with one-line errors that name file and field.

Nothing here knows about Qwen3.5: ``config_rules`` says which fields exist and ``model_spec`` what
they mean. Python's ``json`` is more lenient than JSON (it takes NaN, and ``True`` is an ``int``),
so every reader below checks the exact type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deltaport.errors import ConfigError
from deltaport.strict_json import JsonProblem, one_line, parse_object

__all__ = [
    "MAX_CONFIG_BYTES",
    "MAX_SIZE",
    "Fields",
    "is_folder",
    "load_json_object",
    "names_in",
    "show",
    "show_name",
]

MAX_CONFIG_BYTES = 16 * 2**20
"""A larger file is no configuration: the largest real ones are a few hundred kilobytes."""

MAX_SIZE = 2**31 - 1
"""Largest accepted dimension: tensor indices beyond it do not fit the 32-bit ones kernels use."""

_SHOWN_CHARACTERS = 60
_SHOWN_OF_NAMES = 200  # a real field's name is shown whole, as the user may have to repeat it


def show(value: object) -> str:
    """A short JSON spelling of ``value`` for an error message; containers only by their kind."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is not None and not isinstance(value, str | int | float):
        return f"a {type(value).__name__}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # Python refuses to spell out integers of thousands of digits
        return "a huge integer"
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    return one_line(text)


def show_name(name: str) -> str:
    """A field's name for an error message: as it is, if that is printable and not endless."""
    return one_line(name if len(name) <= _SHOWN_OF_NAMES else name[:_SHOWN_OF_NAMES] + "...")


def names_in(table: str) -> frozenset[str]:
    """The words of a table of field names, which reads better than one quoted name a line."""
    return frozenset(table.split())


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder; False where that cannot be found out, as reading will tell."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def load_json_object(path: Path) -> dict[str, object]:
    """Read a JSON object from a UTF-8 file of at most :data:`MAX_CONFIG_BYTES`.

    Of duplicate keys the last one counts, as in every common JSON reader. Raises ConfigError when
    the file cannot be read, is too large, or does not hold one JSON object.
    """
    where = one_line(str(path))
    try:
        return parse_object(_read(path, where), unique_keys=False)
    except JsonProblem as problem:
        raise ConfigError(f"{where}: {problem}") from None


def _read(path: Path, where: str) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a device or pipe could block or never end
            raise ConfigError(f"{where}: is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{where}: no such file; expected the config.json of a Hugging Face checkpoint"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{where}: cannot be read: {one_line(reason)}") from error
    if len(data) > MAX_CONFIG_BYTES:
        limit = MAX_CONFIG_BYTES // 2**20
        raise ConfigError(f"{where}: is larger than {limit} MiB; that is not a configuration")
    return data


class Fields:
    """One JSON object of a configuration, read field by field.

    Errors name ``source`` (the file) and then ``prefix`` (where the object sits in the file, for
    example ``"text_config."``) and the field. Every reader raises ConfigError.
    """

    def __init__(self, values: Mapping[str, object], *, source: str, prefix: str = "") -> None:
        self.values = values
        self.source = one_line(source)
        self.prefix = prefix

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def error(self, name: str, problem: str) -> ConfigError:
        """The error to raise about field ``name``; ``problem`` continues the sentence."""
        return ConfigError(f"{self.source}: {self.prefix}{show_name(name)} {problem}")

    def get(self, name: str) -> object:
        """The raw value, or None where the field is absent or null."""
        return self.values.get(name)

    def reject(self, name: str, expected: str) -> ConfigError:
        """The error for a field that is missing or has the wrong type or value."""
        if name not in self.values:
            return self.error(name, f"is missing; expected {expected}")
        return self.error(name, f"is {show(self.values[name])}; expected {expected}")

    def size(
        self, name: str, *, default: int | None = None, least: int = 1, most: int = MAX_SIZE
    ) -> int:
        """An integer from ``least`` to ``most``. Without a default the field must be there."""
        if default is not None and name not in self.values:
            return default
        value = self.values.get(name)
        if type(value) is not int or not least <= value <= most:
            raise self.reject(name, f"an integer from {least} to {most}")
        return value

    def number(
        self,
        name: str,
        *,
        above: float | None = None,
        least: float | None = None,
        most: float,
        default: float | None = None,
    ) -> float:
        """A finite number, ``above`` (exclusive) or ``least`` (inclusive) to ``most``."""
        if default is not None and name not in self.values:
            return default
        value = self.values.get(name)
        # Compared before converting: float() of a huge integer overflows. NaN fails the last test.
        if (
            (type(value) is not int and type(value) is not float)
            or (above is not None and not value > above)
            or (least is not None and not value >= least)
            or not value <= most
        ):
            bound = f"above {above:g}" if above is not None else f"of at least {least:g}"
            raise self.reject(name, f"a number {bound} and at most {most:g}")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """``true`` or ``false``."""
        if name not in self.values:
            return default
        value = self.values[name]
        if not isinstance(value, bool):
            raise self.reject(name, "true or false")
        return value

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self.reject(name, "a string")
        return value

    def items(self, name: str) -> list[object]:
        """A list that must be there."""
        value = self.values.get(name)
        if not isinstance(value, list | tuple):
            raise self.reject(name, "a list")
        return list(value)

    def token_ids(self, name: str, *, vocab_size: int) -> tuple[int, ...] | None:
        """One token id or a list of them, each in the vocabulary; None where absent or null."""
        value = self.values.get(name)
        if value is None:
            return None
        ids = tuple(value) if isinstance(value, list | tuple) else (value,)
        for i in ids:
            if type(i) is not int or not 0 <= i < vocab_size:
                expected = f"expected token ids below vocab_size ({vocab_size})"
                raise self.error(name, f"holds {show(i)}; {expected}")
        return ids

    def child(self, name: str) -> Fields:
        """A nested object that must be there."""
        value = self.values.get(name)
        if not isinstance(value, Mapping):
            raise self.reject(name, "an object")
        return Fields(value, source=self.source, prefix=f"{self.prefix}{name}.")
