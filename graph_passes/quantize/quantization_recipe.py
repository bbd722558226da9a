"""Which weights are quantized, and how: a TOML file that gives roles their formats."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deltaport.errors import InputError
from deltaport.strict_json import quote
from deltaport.weight_format import WeightFormat, parse_format
from deltaport.weight_roles import MATRIX_ROLES, role_of

__all__ = ["QuantizationRecipe", "quantization_recipe", "shipped_recipes"]

_LIMIT = 1 << 16  # bytes that a recipe may have


@dataclass(frozen=True)
class QuantizationRecipe:
    """``formats`` by role; a role that is not there stays as it is stored."""

    name: str
    summary: str
    formats: MappingProxyType[str, WeightFormat]

    def format_of(self, parameter: str) -> WeightFormat | None:
        """The format of the parameter with this canonical name, None where it is not quantized."""
        try:
            return None if parameter.endswith(".bias") else self.formats.get(role_of(parameter))
        except KeyError:  # no parameter
            return None


def shipped_recipes() -> tuple[str, ...]:
    """The names of the recipes that come with deltaport."""
    folder = resources.files(__package__) / "recipes"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.is_file()))


def quantization_recipe(name: str) -> QuantizationRecipe:
    """The recipe called ``name``, or in the TOML file of that name.

    Raises ``InputError`` naming the file, the role, and what is expected.
    """
    if name in shipped_recipes():
        file = resources.files(__package__) / "recipes" / f"{name}.toml"
        return _parse(name, f"recipe {name}", file.read_bytes())
    path = Path(name)
    try:
        is_file = path.suffix == ".toml" and path.is_file()
        if is_file and path.stat().st_size > _LIMIT:
            raise InputError(f"{path}: larger than {_LIMIT} bytes, which no recipe is")
        data = path.read_bytes() if is_file else None
    except OSError as error:
        raise InputError(f"recipe {quote(name[:80])}: cannot be read: {error.strerror}") from None
    if data is None:
        raise InputError(
            f"recipe {quote(name[:80])}: there is none of that name; choose one of "
            f"{', '.join(shipped_recipes())}, or name a TOML file"
        )
    return _parse(path.stem, str(path), data)


def _parse(name: str, where: str, data: bytes) -> QuantizationRecipe:
    try:
        found = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, no TOML, beyond what is parsed
        raise InputError(f"{where}: no TOML: {error}") from None
    unknown = sorted(set(found) - {"summary", "roles"})
    if unknown:
        raise InputError(f"{where}: {quote(unknown[0])} is unknown; it has summary and [roles]")
    summary, roles = found.get("summary", ""), found.get("roles")
    if not isinstance(summary, str) or not isinstance(roles, dict):
        raise InputError(f"{where}: expected a table [roles], and a text as its summary if any")
    formats = {role: _format(where, role, text) for role, text in roles.items()}
    return QuantizationRecipe(name, summary, MappingProxyType(formats))


def _format(where: str, role: str, text: Any) -> WeightFormat:
    if role not in MATRIX_ROLES:
        raise InputError(
            f"{where}: role {quote(role)} is unknown; there are {', '.join(MATRIX_ROLES)}"
        )
    try:
        return parse_format(str(text))
    except ValueError as error:
        raise InputError(f"{where}: role {role} {error}") from None
