"""Tokenizers that would harm the process are refused before the library sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaport.errors import EngineError
from deltaport.text import TextTokenizer
from deltaport.tokenizer_rules import problem_with_tokenizer
from tests.checkpoints import save_tokenizer
from tests.tokenizers_like_qwen import save_qwen_like_tokenizer

Document = dict[str, Any]


def put(part: str, value: Any) -> Callable[[Document], None]:
    return lambda document: document.update({part: value})


def model(**fields: Any) -> Callable[[Document], None]:
    return lambda document: document["model"].update(fields)


def template(*single: Any, ids: Any = (1,)) -> Callable[[Document], None]:
    tokens = {"X": {"id": "X", "ids": list(ids), "tokens": ["X"]}}
    parts = {"type": "TemplateProcessing", "single": list(single), "pair": []}
    return put("post_processor", parts | {"special_tokens": tokens})


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
TOKEN = {"SpecialToken": {"id": "X", "type_id": 0}}
GROWING = {"type": "Replace", "pattern": {"Regex": "."}, "content": "xxxxxxxxxx"}
#: Each of these was seen to end the process, to panic, or to take gigabytes.
HARMFUL: dict[str, tuple[Callable[[Document], None], str]] = {
    "memory by the size of a damaged map": (
        put("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA////"}),
        "normalizer is 'Precompiled'; expected one of NFC",
    ),
    "text that grows tenfold, eight times": (
        put("normalizer", {"type": "Sequence", "normalizers": [GROWING] * 8}),
        r"normalizer.normalizers\[0\] is 'Replace'",
    ),
    "text that grows at its start": (
        put("normalizer", {"type": "Prepend", "prepend": "x" * 10**6}),
        "normalizer is 'Prepend'",
    ),
    "pieces of no length": (
        put("pre_tokenizer", {"type": "FixedLength", "length": 0}),
        "pre_tokenizer is 'FixedLength'",
    ),
    "an index beyond a token": (
        put("decoder", {"type": "Strip", "content": "a", "start": 2**63, "stop": 2**63}),
        "decoder is 'Strip'",
    ),
    "a prefix longer than a token": (
        model(continuing_subword_prefix="x" * 100),
        "model.continuing_subword_prefix is",
    ),
    "another model": (model(type="Unigram"), "model is 'Unigram'; expected BPE"),
    "a model without a type": (lambda d: d["model"].pop("type"), "model is None; expected BPE"),
    "a text used twice": (template(TEXT, TEXT), "expected the text once"),
    "no text": (template(TOKEN), "expected the text once"),
    "the text of another": (template({"Sequence": {"id": "B", "type_id": 0}}), "the text once"),
    "a token without a definition": (
        template(TEXT, {"SpecialToken": {"id": "Y", "type_id": 0}}),
        "post_processor.single is",
    ),
    "thousands of tokens": (template(TEXT, TOKEN, ids=[1] * 1000), "post_processor.single is"),
    "a sequence of hundreds": (
        put("decoder", {"type": "Sequence", "decoders": [{"type": "ByteLevel"}] * 500}),
        "decoder.decoders is .* expected at most 16",
    ),
    "a sequence in a sequence": (
        put("decoder", {"type": "Sequence", "decoders": [{"type": "Sequence", "decoders": []}]}),
        r"decoder.decoders\[0\] is a Sequence inside another",
    ),
    "no object": (put("normalizer", "NFC"), "normalizer is 'NFC'; expected an object"),
}


@pytest.mark.parametrize(("change", "message"), HARMFUL.values(), ids=HARMFUL)
def test_harm_is_refused(tmp_path: Path, change: Callable[[Document], None], message: str) -> None:
    path = save_tokenizer(tmp_path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(EngineError, match=message) as caught:
        TextTokenizer.load(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 10**5, b"{}"])
def test_what_is_no_tokenizer(data: bytes) -> None:
    assert problem_with_tokenizer(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: None,
        template(TOKEN, TEXT),
        put("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}]}),
        put("decoder", None),
    ],
)
def test_tokenizers_of_the_family_are_taken(
    tmp_path: Path, change: Callable[[Document], None]
) -> None:
    path = save_qwen_like_tokenizer(tmp_path) / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    assert TextTokenizer.load(tmp_path).encode("Grüße!")
