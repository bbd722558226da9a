"""Where a checkpoint or an engine keeps its chat template, read as transformers 5.23 reads it.

The sources, best first: ``chat_template.jinja``, beside which ``additional_chat_templates/`` may
hold others by name; ``chat_template`` in ``tokenizer_config.json``, one template or a list of named
ones; and ``chat_template.json``, which older processors wrote. All of them are untrusted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltaport.errors import EngineError
from deltaport.package.bounded_file import COPY_AGAIN, read_bounded
from deltaport.strict_json import JsonProblem, parse_object, quote

__all__ = ["DEFAULT", "TOOL_USE", "TemplateFiles", "read_json_file"]

DEFAULT, TOOL_USE = "default", "tool_use"
"""Names of templates; the second, where there is one, is for conversations with tools."""

_JINJA = "chat_template.jinja"
_MORE = "additional_chat_templates"
_LEGACY = "chat_template.json"
_CONFIG = "tokenizer_config.json"
_SPECIAL_TOKENS = "special_tokens_map.json"

_TEMPLATE_LIMIT = 1 << 20
_JSON_LIMIT = 16 << 20
"""Bytes such files may have: far above any real one."""
_MOST_TEMPLATES = 32

_NAMED_TOKENS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True)
class TemplateFiles:
    """What a folder says about rendering conversations."""

    templates: dict[str, str]
    """Sources by name."""
    variables: dict[str, str]
    """Special tokens by name, such as ``eos_token``: variables of every template."""
    source: str
    """The file that the templates are from, for errors."""

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> TemplateFiles:
        """Read them; raises ``EngineError`` if there is no template or a file cannot be used."""
        root = Path(folder)
        config = read_json_file(root / _CONFIG, _JSON_LIMIT) or {}
        variables = _special_tokens(root, config)
        for read in (_from_jinja, _from_config, _from_legacy):
            found = read(root, config)
            if found is not None:
                return cls(found[0], variables, str(found[1]))
        raise EngineError(
            f"{root / _JINJA}: missing, and {_CONFIG} names no chat template either; copy it from "
            "the checkpoint, or use 'deltaport run' if the model was not made for chat"
        )


def read_json_file(path: Path, limit: int) -> dict[str, Any] | None:
    """The object in a JSON file of at most ``limit`` bytes; None if there is no such file."""
    data = read_bounded(path, limit, too_large=f"; {COPY_AGAIN}")
    if data is None:
        return None
    try:
        return parse_object(data, unique_keys=False)
    except JsonProblem as problem:
        raise EngineError(f"{path}: {problem}; {COPY_AGAIN}") from None


def _from_jinja(root: Path, _: dict[str, Any]) -> tuple[dict[str, str], Path] | None:
    path = root / _JINJA
    files = {DEFAULT: path} | {file.stem: file for file in _additional(root / _MORE)}
    texts = {name: _read_text(file) for name, file in files.items()}
    found = {name: text for name, text in texts.items() if text is not None}
    return (found, path if DEFAULT in found else root / _MORE) if found else None


def _additional(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.jinja"))  # none where there is no such folder, as is the rule
    if len(files) > _MOST_TEMPLATES:
        raise EngineError(
            f"{folder}: holds {len(files)} templates, expected {_MOST_TEMPLATES} at most"
        )
    return files


def _from_config(root: Path, config: dict[str, Any]) -> tuple[dict[str, str], Path] | None:
    path = root / _CONFIG
    given = config.get("chat_template")
    if given is None:
        return None
    if isinstance(given, str):
        return {DEFAULT: _bounded(given, path)}, path
    entries = given if isinstance(given, list) else []
    found = {
        entry["name"]: _bounded(entry["template"], path)
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("template"), str)
    }
    if not entries or len(found) != len(entries):
        raise EngineError(
            f"{path}: chat_template is {quote(given)}; expected a template, or a list of templates "
            f'with a "name" and a "template" each; {COPY_AGAIN}'
        )
    return found, path


def _from_legacy(root: Path, _: dict[str, Any]) -> tuple[dict[str, str], Path] | None:
    path = root / _LEGACY
    document = read_json_file(path, _JSON_LIMIT)
    if document is None:
        return None
    template = document.get("chat_template")
    if not isinstance(template, str):
        raise EngineError(
            f"{path}: chat_template is {quote(template)}, expected a template; {COPY_AGAIN}"
        )
    return {DEFAULT: _bounded(template, path)}, path


def _special_tokens(root: Path, config: dict[str, Any]) -> dict[str, str]:
    """The tokens transformers gives templates: the usual ones, and those the model adds by name."""
    fields = dict(config)
    if "added_tokens_decoder" not in config:  # else transformers does not look into the old file
        fields |= read_json_file(root / _SPECIAL_TOKENS, _JSON_LIMIT) or {}
    named = {name: value for name, value in fields.items() if name.endswith("_token")}
    for group in ("model_specific_special_tokens", "extra_special_tokens"):
        if isinstance(more := fields.get(group), dict):
            named |= more
    usual = [f"{name}_token" for name in _NAMED_TOKENS]
    ordered = sorted(named, key=lambda name: name not in usual)
    contents = {name: _content(named[name]) for name in ordered}
    return {name: content for name, content in contents.items() if content is not None}


def _content(token: object) -> str | None:
    """A token is its text, or an object that has it as ``content``; null is none."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _read_text(path: Path) -> str | None:
    data = read_bounded(path, _TEMPLATE_LIMIT, too_large=f"; {COPY_AGAIN}")
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EngineError(f"{path}: not UTF-8 text (byte {error.start}); {COPY_AGAIN}") from None


def _bounded(template: str, path: Path) -> str:
    if len(template) > _TEMPLATE_LIMIT:
        raise EngineError(
            f"{path}: its chat template is larger than {_TEMPLATE_LIMIT >> 20} MiB, not a template"
        )
    return template
