"""Texts of conversations against transformers', byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from transformers import PreTrainedTokenizerFast

from deltaport.chat import ChatTemplate
from deltaport.chat.template_files import TemplateFiles
from deltaport.errors import EngineError, InputError
from tests.many_scripts import CONVERSATIONS, Conversation
from tests.tokenizers_like_qwen import TEMPLATES, save_qwen_like_tokenizer

USER = [{"role": "user", "content": "Hi"}]


@pytest.fixture(
    scope="module", params=sorted(path.stem for path in TEMPLATES.glob("*.jinja")), ids=str
)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ChatTemplate, Any]]:
    """A template as we load it, and as transformers does."""
    folder = tmp_path_factory.mktemp("chat")
    save_qwen_like_tokenizer(folder, template=request.param)
    with ChatTemplate.load(folder) as template:
        yield template, PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.mark.parametrize("case", CONVERSATIONS, ids=lambda case: case.name)
def test_the_text_is_that_of_transformers(
    case: Conversation, pair: tuple[ChatTemplate, Any]
) -> None:
    template, oracle = pair
    given: dict[str, Any] = {"tools": case.tools, **case.options}
    try:
        expected = oracle.apply_chat_template(case.messages, tokenize=False, **given)
    except (jinja2.TemplateError, TypeError):  # the template refuses it, or trips over it
        with pytest.raises((InputError, EngineError)):
            template.render(case.messages, **given)
    else:
        assert template.render(case.messages, **given) == expected


def test_most_conversations_have_a_text(pair: tuple[ChatTemplate, Any]) -> None:
    """Or else the comparison would compare errors."""
    template, _ = pair
    texts = 0
    for case in CONVERSATIONS:
        try:
            texts += bool(template.render(case.messages, tools=case.tools, **case.options))
        except (InputError, EngineError):
            continue
    assert texts >= len(CONVERSATIONS) - 8


def test_surrogates_pass_through_as_they_are(pair: tuple[ChatTemplate, Any]) -> None:
    template, oracle = pair
    messages = [{"role": "user", "content": "\ud83d\ude00 \udcff"}]
    expected = oracle.apply_chat_template(messages, tokenize=False)
    assert template.render(messages) == expected


def write(folder: Path, **files: Any) -> None:
    """Files by name without suffix: text for a template, anything else as JSON."""
    for name, content in files.items():
        jinja = name == "chat_template" and isinstance(content, str)
        text = content if jinja else json.dumps(content)
        (folder / (name + (".jinja" if jinja else ".json"))).write_text(text)


def oracle_of(folder: Path) -> Any:
    """What transformers makes of a folder: it wants a tokenizer to be there, too."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_qwen_like_tokenizer(tmp_path)
    return tmp_path


NAMED = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template": "J", "tokenizer_config": {"chat_template": "C"}},
        {"tokenizer_config": {"chat_template": "C"}},
        {"tokenizer_config": {"chat_template": NAMED}},
        {"chat_template": "J", "tokenizer_config": {"chat_template": NAMED}},
        {"chat_template": "a\r\n{{ 1 }}\rb\n\n", "tokenizer_config": {}},
    ],
    ids=["file first", "configuration", "by name", "file before names", "line ends"],
)
def test_templates_are_found_where_transformers_finds_them(
    files: dict[str, Any], folder: Path
) -> None:
    write(folder, **files)
    with ChatTemplate.load(folder) as template:
        for tools in (None, [], [{"name": "f"}]):
            expected = oracle_of(folder).apply_chat_template(USER, tools=tools, tokenize=False)
            assert template.render(USER, tools=tools) == expected


def test_additional_templates_are_found_as_transformers_finds_them(folder: Path) -> None:
    write(folder, chat_template="J", tokenizer_config={"chat_template": NAMED})
    more = folder / "additional_chat_templates"
    more.mkdir()
    (more / "tool_use.jinja").write_text("M")
    with ChatTemplate.load(folder) as template:
        for tools in (None, [{"name": "f"}]):
            expected = oracle_of(folder).apply_chat_template(USER, tools=tools, tokenize=False)
            assert template.render(USER, tools=tools) == expected


def test_the_legacy_file_comes_last(folder: Path) -> None:
    write(folder, tokenizer_config={})
    (folder / "chat_template.json").write_text('{"chat_template": "L"}')
    with ChatTemplate.load(folder) as template:
        assert template.render(USER) == "L"
    write(folder, tokenizer_config={"chat_template": "C"})
    with ChatTemplate.load(folder) as template:
        assert template.render(USER) == "C"


ALL = (
    "{{ bos_token }} {{ eos_token }} {{ pad_token }} {{ unk_token }} {{ cls_token }} {{ x_token }}"
)


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config": {"bos_token": None, "eos_token": "<|im_end|>", "x_token": "é"}},
        {"tokenizer_config": {"eos_token": {"__type": "AddedToken", "content": "<|im_end|>"}}},
        {"tokenizer_config": {"extra_special_tokens": {"x_token": "<|image_pad|>"}}},
        {"tokenizer_config": {"eos_token": "a"}, "special_tokens_map": {"eos_token": "b"}},
        {
            "tokenizer_config": {"eos_token": "a", "added_tokens_decoder": {}},
            "special_tokens_map": {"eos_token": "b", "pad_token": "p"},
        },
        {"tokenizer_config": {}, "special_tokens_map": {"cls_token": {"content": "<|im_end|>"}}},
    ],
    ids=["plain", "as an object", "extra", "two files", "newer file wins", "old file's object"],
)
def test_special_tokens_are_those_transformers_gives(files: dict[str, Any], folder: Path) -> None:
    write(folder, chat_template=ALL, **files)
    with ChatTemplate.load(folder) as template:
        expected = oracle_of(folder).apply_chat_template(USER, tokenize=False)
        assert template.render(USER) == expected


def test_without_a_template_the_error_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"chat_template\.jinja: missing.*copy it from the"):
        ChatTemplate.load(tmp_path)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"tokenizer_config": {"chat_template": 5}}, "chat_template is 5; expected a template"),
        ({"tokenizer_config": {"chat_template": [{"name": "default"}]}}, "expected a template"),
        ({"tokenizer_config": {"chat_template": []}}, "expected a template"),
        ({"tokenizer_config": [1]}, "holds a list; expected a JSON object"),
        ({"chat_template": {"chat_template": None}}, "chat_template is None, expected"),
        ({"chat_template": "x" * (1 << 20) + "y"}, "larger than 1 MiB"),
    ],
)
def test_damaged_files_are_named(files: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    write(tmp_path, **files)
    with pytest.raises(EngineError, match=complaint) as raised:
        ChatTemplate.load(tmp_path)
    assert str(raised.value).startswith(str(tmp_path))
    assert str(raised.value).isprintable()


def test_a_folder_or_bytes_for_a_template_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_bytes(b"\xff")
    with pytest.raises(EngineError, match=r"not UTF-8 text \(byte 0\)"):
        ChatTemplate.load(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(EngineError, match="not a regular file"):
        ChatTemplate.load(tmp_path)


def test_a_template_that_is_not_there_by_name_is_missed(tmp_path: Path) -> None:
    write(tmp_path, tokenizer_config={"chat_template": [{"name": "rag", "template": "R"}]})
    with pytest.raises(
        EngineError, match='holds the chat templates rag, but none called "default"'
    ):
        ChatTemplate.load(tmp_path).check()


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else "x"


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "the conversation is empty"),
        (["Hi"], r"messages\[0\] is 'Hi', expected a dict"),
        ([{"role": "user", "content": b"Hi"}], r"messages\[0\]\['content'\] is b'Hi'; expected"),
        ([{"role": "user", "content": [object]}], r"messages\[0\]\['content'\]\[0\] is <class"),
        ([{1: "user"}], r"messages\[0\] has the key 1, expected text"),
        ([{"role": 10**5000}], "integer with too many digits"),
        ([{"role": nested(100)}], "nested more than 64 levels"),
        ([{"role": CIRCULAR}], "nested more than 64 levels"),
        ([{"role": "user", "content": "x" * (17 << 20)}], "takes 17 MiB"),
    ],
    ids=["none", "text", "bytes", "class", "key", "digits", "deep", "circular", "huge"],
)
def test_what_is_not_json_is_refused_by_its_place(messages: Any, complaint: str) -> None:
    with ChatTemplate(TemplateFiles({"default": "x"}, {}, "x")) as template:
        with pytest.raises(InputError, match=complaint) as raised:
            template.render(messages)
        assert str(raised.value).isprintable()


def test_importing_chat_imports_nothing_heavy() -> None:
    code = "import sys, json, deltaport.chat; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded & {"deltaport"}
    assert not loaded & {"torch", "onnx", "numpy", "onnxruntime", "jinja2", "tokenizers", "click"}
