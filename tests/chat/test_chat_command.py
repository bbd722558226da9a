# ruff: noqa: RUF001 - questions come in other scripts, too
"""``deltaport chat`` as a user runs it, with lines from a pipe."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from deltaport.chat import ChatSession, ChatTemplate, Conversation
from deltaport.runtime import Engine, SamplingParams
from tests.end_to_end.command import COMMAND, deltaport, error_line


def chat(engine: Path, said: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    given = ("--greedy", "-n", "8", "--threads", "2", *options)
    return deltaport("chat", engine, *given, input=said)


@pytest.fixture
def altered(chat_engine: Path, tmp_path: Path) -> Path:
    """A copy of the engine to alter."""
    return Path(shutil.copytree(chat_engine, tmp_path / "engine"))


def refit(folder: Path, source: str) -> Path:
    """Give an engine another template, its manifest knowing."""
    path = folder / "chat_template.jinja"
    manifest = json.loads((folder / "manifest.json").read_text())
    [entry] = [entry for entry in manifest["files"] if entry["path"] == path.name]
    path.write_text(source)
    entry["size"] = path.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_every_line_is_answered_and_the_conversation_saved(
    chat_engine: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "talk.json"
    said = f"Hello?\n\nПривет! 🦊\r\n/save {saved}\n/reset\nHello?\n"
    result = chat(chat_engine, said, "--system", "Be brief.", "--no-thinking")
    assert result.returncode == 0, result.stderr

    with ChatTemplate.load(chat_engine) as template:
        session = ChatSession(Engine.open(chat_engine, threads=2), template, enable_thinking=False)
        session.conversation.system = "Be brief."
        answers = []
        for question in ("Hello?", "Привет! 🦊"):
            parts = session.ask(question, SamplingParams(max_new_tokens=8))
            answers.append("".join(part.text for part in parts))
    assert result.stdout == "".join(f"{answer}\n" for answer in [*answers, answers[0]])
    assert Conversation.load(saved).messages == session.conversation.messages
    notes = result.stderr.splitlines()
    assert [line for line in notes if "tokens/s after the first)" in line]
    assert "5 messages saved" in notes
    assert "started anew with the system message" in notes
    # What the second turn of the same conversation read is less than all of it.
    assert "known" in notes[1]


def test_a_saved_conversation_goes_on_elsewhere(chat_engine: Path, tmp_path: Path) -> None:
    saved = tmp_path / "a talk.json"
    first = chat(chat_engine, f"Hello?\n/save {saved}\nAnd?\n", "-q", "--no-thinking")
    second = chat(chat_engine, f"/load {saved}\nAnd?\n", "-q", "--no-thinking")
    assert first.stderr == second.stderr == ""
    hello, answer = first.stdout, second.stdout
    assert answer
    assert hello.endswith(answer)


def test_reasoning_stays_off_a_file(chat_engine: Path) -> None:
    result = chat(chat_engine, "Hello?\n")
    assert result.returncode == 0
    assert result.stdout == "\n"  # the template opens the reasoning, which eight tokens do not end
    assert "cut short while reasoning, before an answer: pass a higher -n" in result.stderr


def test_a_context_no_model_takes_is_named_as_it_was_given(chat_engine: Path) -> None:
    line = error_line(chat(chat_engine, "", "--context", "5000"))
    assert line == f"error: --context 5000: {chat_engine} takes 1 to 4096 tokens; pass a lower one"


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), "absent"), (("--thinking",), "True"), (("--no-thinking",), "False")],
)
def test_thinking_is_a_variable_of_the_template(
    options: tuple[str, ...], expected: str, altered: Path
) -> None:
    source = "{{ raise_exception('thinking: ' ~ enable_thinking | default('absent')) }}"
    result = chat(refit(altered, source), "Hello?\n", "-q", *options, "--no-checksums")
    assert f"refuses this conversation: thinking: {expected}" in error_line(result)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("/dance\n", "'/dance' is not a command; /help lists them"),
        ("/save\n", "/save needs a file: /save FILE"),
        ("/load /nowhere.json\n", "/nowhere.json: no such file"),
        ("/load ~nobody-at-all/x\n", "'~nobody-at-all/x': "),
        ("/save /nowhere/x\n", "'/nowhere/x': cannot be written: "),
        ("/save /\n", "/: exists and is not a saved conversation"),
        ("x" * 200_000 + "\n", "leaves no room for an answer in a context of 4096"),
    ],
    ids=["unknown", "no file", "no such file", "nobody", "no folder", "a folder", "too long"],
)
def test_mistakes_in_a_pipe_end_it(said: str, complaint: str, chat_engine: Path) -> None:
    assert complaint in error_line(chat(chat_engine, said, "-q"))


def test_ctrl_c_in_a_pipe_ends_it(chat_engine: Path) -> None:
    options = ("--greedy", "--ignore-eos", "--no-thinking", "--threads", "1")
    with subprocess.Popen(
        [*COMMAND, "chat", chat_engine, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"Hello?\n" * 9)
        process.stdin.close()
        process.stdin = None
        assert process.stdout.read(1)  # the first of nine answers, as long as the context each
        process.send_signal(signal.SIGINT)
        _, notes = process.communicate(timeout=60)
    assert process.returncode == 130
    assert notes == b"interrupted\n"


def test_lines_that_are_no_text_are_told(chat_engine: Path) -> None:
    said = "/help\n\xff\n".encode("latin-1")
    result = deltaport("chat", chat_engine, "-q", input=said, text=False, encoding=None)
    assert result.returncode == 2
    assert b"standard input: line 2 is not UTF-8 at byte 0; convert it first" in result.stderr
    assert b"/reset" in result.stderr  # help is given even to those who want it quiet


def test_an_empty_pipe_is_no_mistake(chat_engine: Path) -> None:
    result = chat(chat_engine, "", "-q")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert chat(chat_engine, "/quit\nnever said\n").stdout == ""


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{% for %}", "chat_template.jinja: not a template: "),
        ("{{ ''.__class__.__mro__ }}", "does what a chat template must not (line 1)"),
        ("{{ nothing.at.all }}", "fails on this conversation (line 1): UndefinedError"),
        ("{{ 'x' * 10 ** 9 * messages | length }}", "needs too much memory"),
    ],
)
def test_a_template_that_fails_is_told_in_one_line(
    source: str, complaint: str, altered: Path
) -> None:
    said = "Hello?\nAnd?\n"
    assert complaint in error_line(chat(refit(altered, source), said, "-q", "--no-checksums"))


def test_an_engine_not_made_for_chat_says_so(altered: Path) -> None:
    manifest = json.loads((altered / "manifest.json").read_text())
    kept = [entry for entry in manifest["files"] if entry["path"] != "chat_template.jinja"]
    (altered / "manifest.json").write_text(json.dumps(manifest | {"files": kept}))
    (altered / "chat_template.jinja").unlink()
    line = error_line(chat(altered, "Hello?\n"))
    assert "chat_template.jinja: missing" in line
    assert "deltaport run" in line


def test_the_context_running_out_is_told_with_what_helps(chat_engine: Path) -> None:
    line = error_line(chat(chat_engine, "the quick brown fox\n", "-q", "--context", "10"))
    assert "start anew with /reset, or pass a higher --context" in line
