"""Our token ids against transformers', over strings in many scripts and conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, Qwen3_5Tokenizer

from deltaport.chat import ChatTemplate
from deltaport.errors import InputError
from deltaport.text import TextTokenizer
from tests.many_scripts import BROKEN, CONVERSATIONS, STRINGS, Conversation
from tests.tokenizers_like_qwen import save_qwen_like_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen_like_tokenizer(tmp_path_factory.mktemp("text"), template="tool_json")


@pytest.fixture(scope="module", params=[PreTrainedTokenizerFast, Qwen3_5Tokenizer])
def oracle(request: pytest.FixtureRequest, folder: Path) -> Any:
    return request.param.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> TextTokenizer:
    return TextTokenizer.load(folder)


@pytest.fixture(scope="module")
def template(folder: Path) -> Any:
    with ChatTemplate.load(folder) as loaded:
        yield loaded


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(STRINGS) >= 200
    assert len(CONVERSATIONS) >= 60


@pytest.mark.parametrize("text", [text for text in STRINGS if text not in BROKEN], ids=ascii)
def test_ids_are_those_of_transformers(text: str, oracle: Any, tokenizer: TextTokenizer) -> None:
    expected = oracle(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode(text, add_special_tokens=False) == expected
    assert tokenizer.decode(expected) == oracle.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize("add_special_tokens", [True, False])
def test_tokens_around_a_text_are_added_where_transformers_adds_them(
    add_special_tokens: bool, folder: Path, tmp_path: Path
) -> None:
    around = Tokenizer.from_file(str(folder / "tokenizer.json"))
    begin, end = "<|endoftext|>", "<|im_end|>"
    around.post_processor = TemplateProcessing(
        f"{begin} $A {end}",
        special_tokens=[(token, around.token_to_id(token)) for token in (begin, end)],
    )
    around.save(str(tmp_path / "tokenizer.json"))
    oracle = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for text in ("Hello?", "", f"{begin}x"):
        expected = oracle(text, add_special_tokens=add_special_tokens)["input_ids"]
        found = TextTokenizer.load(tmp_path).encode(text, add_special_tokens=add_special_tokens)
        assert found == expected


@pytest.mark.parametrize("text", BROKEN, ids=ascii)
def test_surrogates_are_refused_as_transformers_refuses_them(
    text: str, oracle: Any, tokenizer: TextTokenizer
) -> None:
    with pytest.raises(TypeError):
        oracle(text)
    with pytest.raises(InputError, match="not UTF-8"):
        tokenizer.encode(text)


@pytest.mark.parametrize("case", CONVERSATIONS, ids=lambda case: case.name)
def test_ids_of_a_conversation_are_those_of_transformers(
    case: Conversation, oracle: Any, tokenizer: TextTokenizer, template: ChatTemplate
) -> None:
    expected = oracle.apply_chat_template(
        case.messages, tools=case.tools, return_dict=False, **case.options
    )
    text = template.render(case.messages, tools=case.tools, **case.options)
    assert tokenizer.encode(text, add_special_tokens=False) == expected
