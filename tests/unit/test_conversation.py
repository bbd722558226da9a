"""Conversations: their messages, their files, and reasoning told from answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from deltaport.chat import Conversation, split_reasoning
from deltaport.chat.reasoning import ReasoningSplitter
from deltaport.errors import InputError, OutputError
from tests.many_scripts import CONVERSATIONS, SENTENCES

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße 👩‍👩‍👧‍👦\n\0"},
    {"role": "assistant", "content": "Hi", "reasoning_content": "hm"},
]


def names(folder: Path) -> list[str]:
    """Of everything in a folder, hidden files too."""
    return [path.name for path in folder.iterdir()]


def test_messages_are_added_in_order_and_cleared_but_for_the_system_message() -> None:
    talk = Conversation()
    assert talk.system == ""
    talk.system = "Be brief."
    talk.add_user("Grüße 👩‍👩‍👧‍👦\n\0")
    talk.add_answer("Hi", "hm")
    assert talk.messages == TALK
    talk.system = "Be long."
    assert talk.system == "Be long."
    talk.clear()
    assert talk.messages == [{"role": "system", "content": "Be long."}]
    talk.system = ""
    assert talk.messages == []
    talk.add_answer("Hi")
    assert talk.messages == [{"role": "assistant", "content": "Hi"}]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    Conversation(TALK).save(path)
    assert Conversation.load(path).messages == TALK
    longer = Conversation([*TALK, {"role": "user", "content": "more"}])
    longer.save(path)
    assert Conversation.load(path).messages == longer.messages
    assert names(tmp_path) == ["talk.json"]


def test_every_script_survives_a_file(tmp_path: Path) -> None:
    talk = Conversation({"role": "user", "content": text} for text in SENTENCES.values())
    talk.save(tmp_path / "talk.json")
    assert Conversation.load(tmp_path / "talk.json").messages == talk.messages


def test_messages_with_tools_and_parts_are_taken() -> None:
    for case in CONVERSATIONS:
        if case.name.endswith(", tools") or case.name == "parts":
            assert Conversation(case.messages).messages == case.messages


@pytest.mark.parametrize("content", ["", "notes", "{}", '{"messages": []}'])
def test_no_other_file_is_overwritten(content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(OutputError, match="exists and is not a saved conversation"):
        Conversation(TALK).save(path)
    assert path.read_text() == content


@pytest.mark.parametrize("name", ["nowhere/talk.json", "a\0b", "x" * 300])
def test_where_nothing_can_be_written_the_error_names_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written") as raised:
        Conversation(TALK).save(tmp_path / name)
    assert str(raised.value).isprintable()
    assert names(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "talk.json"
    Conversation(TALK).save(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        Conversation().save(path)
    assert names(tmp_path) == ["talk.json"]
    assert Conversation.load(path).messages == TALK


def document(**changes: Any) -> dict[str, Any]:
    return {"deltaport_conversation": 1, "messages": TALK} | changes


def of(message: Any) -> dict[str, Any]:
    return document(messages=[message])


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is not valid JSON"),
        ("[1]", "holds a list"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "is not a saved conversation"),
        (document(deltaport_conversation=2), "of another version"),
        (document(more=1), "of another version"),
        ({"deltaport_conversation": 1}, "of another version"),
        (document(messages={}), "has as messages {}, expected a list"),
        (of("x"), r"messages\[0\] is 'x', expected an object"),
        (of({}), "role is None, expected one of system"),
        (of({"role": ["user"]}), r"role is \['user'\], expected"),
        (of({"role": "\x1b[2J"}), "role is '.x1b"),
        (of({"role": "user"}), "content is None, expected text"),
        (of({"role": "user", "content": [1]}), r"content is \[1\], expected text or a list"),
        (of(USER | {"more": 1}), "has the key 'more'"),
        (of(USER | {"reasoning_content": 1}), "reasoning_content is 1, expected text"),
        (of(USER | {"tool_calls": "f"}), "tool_calls is 'f', expected a list"),
        (of(USER | {"content": "\ud800"}), "is not UTF-8"),
        ('{"deltaport_conversation": 1, "messages": [], "messages": []}', "twice"),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    content: Any, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "talk.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=complaint) as raised:
        Conversation.load(path)
    assert str(raised.value).startswith(str(path))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Conversation.load(tmp_path / "talk.json")
    with pytest.raises(InputError, match="not a regular file"):
        Conversation.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        Conversation.load(tmp_path / "pipe")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(InputError, match="larger than 16 MiB"):
        Conversation.load(path)


def test_surrogates_are_refused_as_they_come() -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        Conversation().add_user("\udcff")
    with pytest.raises(InputError, match="not JSON"):
        Conversation().add({"role": "user", "content": [{"image": object()}]})


SPLITS = {
    "no marks": ("plain\n", False, "", "plain\n"),
    "opened by the prompt": ("hm\nwell\n</think>\n\nyes", True, "hm\nwell", "yes"),
    "opened by the model": ("<think>\nhm\n</think>\n\nyes", False, "hm", "yes"),
    "opened after space": (" \n<think>hm</think>yes", False, "hm", "yes"),
    "never closed": ("\nhm\n\n", True, "hm", ""),
    "closed at once": ("\n\n</think>\n\nyes\n", True, "", "yes\n"),
    "nothing": ("", True, "", ""),
    "nothing at all": ("", False, "", ""),
    "marks in the answer": ("hm</think>a </think> <think> b", True, "hm", "a </think> <think> b"),
    "not quite closed": ("a </thin b </think", True, "a </thin b </think", ""),
    "not quite opened": ("<thi", False, "", "<thi"),
    "opened too late": ("so <think>x</think>", False, "", "so <think>x</think>"),
    "lines within": ("a\n\n\nb\n</think>\n\nc\n\nd", True, "a\n\n\nb", "c\n\nd"),
    "almost marks": ("<<</</t</think>x", True, "<<</</t", "x"),
    "only space": (" \n ", False, "", " \n "),
}


@pytest.mark.parametrize(("text", "opened", "reasoning", "answer"), SPLITS.values(), ids=SPLITS)
def test_reasoning_is_told_from_the_answer(
    text: str, opened: bool, reasoning: str, answer: str
) -> None:
    assert split_reasoning(text, opened=opened) == (reasoning, answer)
    for size in (1, 2, 3, 5):
        splitter = ReasoningSplitter(opened=opened)
        parts = {"reasoning": "", "answer": ""}
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        for piece in [part for text in pieces for part in splitter.push(text)]:
            assert piece[1]
            parts[piece[0]] += piece[1]
        for kind, rest in splitter.finish():
            parts[kind] += rest
        assert parts == {"reasoning": reasoning, "answer": answer}, size


def test_text_is_given_as_soon_as_it_is_certain() -> None:
    splitter = ReasoningSplitter(opened=True)
    assert splitter.push("\nso\n") == [("reasoning", "so")]
    assert splitter.push("far <") == [("reasoning", "\nfar ")]
    assert splitter.push("b") == [("reasoning", "<b")]
    assert splitter.push("\n</think>") == []
    assert splitter.push("\n") == []
    assert splitter.push("yes\n") == [("answer", "yes\n")]


def test_a_folder_that_is_missing_is_told_without_the_name_of_the_partial_file(
    tmp_path: Path,
) -> None:
    target = tmp_path / "missing" / "talk.json"
    with pytest.raises(OutputError, match=r"talk\.json': cannot be written: No such file") as error:
        Conversation().save(target)
    assert "partial" not in str(error.value)
