"""Which tokenizers are taken: byte-level BPE, as the Qwen models have it.

The tokenizers library trusts its files. Of one made to do harm it may take all memory (a normalizer
that replaces every character by many), or end the whole process (a damaged ``precompiled_charsmap``
is read as the size of an allocation). So a file is checked before the library sees it: of every
part only kinds that are needed, and that neither grow a text nor index into it by their settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from deltaport.strict_json import JsonProblem, parse_object, quote

__all__ = ["problem_with_tokenizer"]

_KINDS = {
    "normalizer": {"NFC", "NFD", "NFKC", "NFKD"},
    "pre_tokenizer": {"ByteLevel", "Digits", "Punctuation", "Split", "Whitespace"},
    "post_processor": {"ByteLevel", "TemplateProcessing"},
    "decoder": {"ByteLevel"},
}
"""Parts beside the model, and what each may be, or a ``Sequence`` of."""

_MEMBERS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
"""Where a ``Sequence`` has its members."""

_MOST_MEMBERS = 16
_MOST_ADDED_IDS = 16
"""Token ids a template may add to a text."""


def problem_with_tokenizer(data: bytes) -> str | None:
    """What in a ``tokenizer.json`` is refused, or None; the text continues after its name."""
    try:
        document = parse_object(data, unique_keys=False)
    except JsonProblem as problem:
        return str(problem)
    model = document.get("model")
    if not isinstance(model, Mapping) or model.get("type") != "BPE":
        found = model.get("type") if isinstance(model, Mapping) else model
        return f"model is {quote(found)}; expected BPE"
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            return f"model.{name} is {quote(model[name])}; expected none, as tokens are bytes"
    for part in _KINDS:
        if document.get(part) is not None:
            refused = _problem_with_part(part, document[part], part)
            if refused:
                return refused
    return None


def _problem_with_part(part: str, value: object, where: str) -> str | None:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(kind, str):
        return f"{where} is {quote(value)}; expected an object with a type"
    if kind == "TemplateProcessing" and part == "post_processor":
        return _problem_with_template(value, where)
    if kind in _KINDS[part]:
        return None
    if kind != "Sequence":
        return f"{where} is {quote(kind)}; expected one of {', '.join(sorted(_KINDS[part]))}"
    members = value.get(_MEMBERS[part])
    if not isinstance(members, list) or len(members) > _MOST_MEMBERS:
        return f"{where}.{_MEMBERS[part]} is {quote(members)}; expected at most {_MOST_MEMBERS}"
    for i, member in enumerate(members):
        inner = f"{where}.{_MEMBERS[part]}[{i}]"
        if isinstance(member, Mapping) and member.get("type") == "Sequence":
            return f"{inner} is a Sequence inside another; expected one of them"
        problem = _problem_with_part(part, member, inner)
        if problem:
            return problem
    return None


def _problem_with_template(value: Mapping[str, object], where: str) -> str | None:
    """A template must hold the text once, and tokens it defines."""
    pieces, defined = value.get("single"), value.get("special_tokens")
    wrong = f"{where}.single is {quote(pieces)}; expected the text once and special tokens"
    if not isinstance(pieces, list) or not isinstance(defined, Mapping):
        return wrong
    texts = added = 0
    for piece in pieces:
        match piece:
            case {"Sequence": {"id": "A"}}:
                texts += 1
            case {"SpecialToken": {"id": str(name)}} if isinstance(defined.get(name), Mapping):
                ids = defined[name].get("ids")
                added += len(ids) if isinstance(ids, list) else _MOST_ADDED_IDS + 1
            case _:
                return wrong
    return None if texts == 1 and added <= _MOST_ADDED_IDS else wrong
