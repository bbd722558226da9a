"""Answers of a session that keeps its state, against sessions that read everything afresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deltaport.chat import ChatSession, ChatTemplate, Conversation
from deltaport.chat.template_files import TemplateFiles
from deltaport.errors import CapacityError, EngineError, InputError
from deltaport.runtime import Engine, SamplingParams
from tests.runtime.step_observers import Steps, observed
from tests.tokenizers_like_qwen import save_qwen_like_tokenizer

SHORT = SamplingParams(max_new_tokens=12)
QUESTIONS = ("Hello, who are you?", "Привет! 你好 👩‍👩‍👧‍👦", "And the lazy dog?", "  So?\n")


@pytest.fixture(scope="module")
def engine(chat_engine: Path) -> Engine:
    return Engine.open(chat_engine, threads=2, checksums=False)


@pytest.fixture(scope="module", params=["reasoning", "tool_json", "chatml"])
def template(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChatTemplate]:
    folder = save_qwen_like_tokenizer(tmp_path_factory.mktemp("t"), template=request.param)
    with ChatTemplate.load(folder) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def reasoning(chat_engine: Path) -> Iterator[ChatTemplate]:
    with ChatTemplate.load(chat_engine) as loaded:
        yield loaded


def watched(engine: Engine, template: ChatTemplate, **variables: Any) -> tuple[ChatSession, Steps]:
    """A conversation and its steps."""
    steps = Steps()
    with observed(engine, steps):
        return ChatSession(engine, template, **variables), steps


def ids_of(chat: ChatSession, messages: list[dict[str, Any]], *, prompt: bool) -> list[int]:
    text = chat.template.render(messages, add_generation_prompt=prompt, **chat.variables)
    assert chat.engine.tokenizer is not None
    return chat.engine.tokenizer.encode(text)


def afresh(chat: ChatSession, question: str, count: int) -> list[int]:
    """What a new session answers that reads all of the conversation."""
    asked = [*chat.conversation.messages, {"role": "user", "content": question}]
    params = SamplingParams(max_new_tokens=count, stop_token_ids=(end(chat.engine),))
    [completion] = chat.engine.session().generate([ids_of(chat, asked, prompt=True)], params)
    return completion.tokens


def end(engine: Engine) -> int:
    assert engine.tokenizer is not None
    [token] = engine.tokenizer.encode("<|im_end|>")
    return token


def saying(engine: Engine, text: str) -> SamplingParams:
    """Parameters that make the model say ``text`` and end its turn."""
    assert engine.tokenizer is not None
    script = [*engine.tokenizer.encode(text), end(engine)]
    return SamplingParams(max_new_tokens=None, allowed_tokens=lambda new: [script[len(new)]])


def ask(chat: ChatSession, question: str, params: SamplingParams = SHORT) -> Any:
    answer = chat.ask(question, params)
    text = {"reasoning": "", "answer": ""}
    for part in answer:
        text[part.kind] += part.text
    last = chat.conversation.messages[-1]
    assert text["answer"] == last["content"]
    assert text["reasoning"] == last.get("reasoning_content", "")
    return answer


@pytest.mark.parametrize("variables", [{}, {"enable_thinking": False}], ids=["", "no thinking"])
def test_every_turn_is_what_reading_everything_afresh_gives(
    variables: dict[str, Any],
    engine: Engine,
    template: ChatTemplate,
) -> None:
    chat, steps = watched(engine, template, **variables)
    chat.conversation.system = "Be brief."
    history = 0
    for question in QUESTIONS:
        expected = afresh(chat, question, 12)
        steps.inputs.clear()
        answer = ask(chat, question)
        # The last token of an answer is run with what follows it, if ever.
        assert steps.tokens == answer.read_tokens + len(answer.tokens) - 1
        assert answer.tokens == expected
        # At least what was there before the last answer is known.
        assert answer.prompt_tokens - answer.read_tokens >= history
        history = len(ids_of(chat, chat.conversation.messages[:-1], prompt=False))
    assert len(chat.conversation.messages) == 1 + 2 * len(QUESTIONS)


def test_reasoning_of_earlier_turns_is_dropped_and_only_the_rest_read(
    engine: Engine, reasoning: ChatTemplate
) -> None:
    chat = ChatSession(engine, reasoning)
    first = ask(chat, "Hello?", saying(engine, "the dog\n</think>\n\nYes, it sleeps."))
    assert chat.conversation.messages[-1] == {
        "role": "assistant",
        "content": "Yes, it sleeps.",
        "reasoning_content": "the dog",
    }
    before = ids_of(chat, chat.conversation.messages[:1], prompt=False)
    expected = afresh(chat, "And now?", 12)
    answer = ask(chat, "And now?")
    assert answer.tokens == expected
    assert answer.prompt_tokens - answer.read_tokens == len(before)
    assert first.read_tokens == first.prompt_tokens


def test_where_nothing_is_dropped_nothing_is_read_twice(engine: Engine, tmp_path: Path) -> None:
    save_qwen_like_tokenizer(tmp_path, template="chatml")
    with ChatTemplate.load(tmp_path) as template:
        chat, steps = watched(engine, template)
        first = ask(chat, "Hello?", saying(engine, "Yes, it sleeps."))
        steps.inputs.clear()
        second = ask(chat, "And now?", saying(engine, "No."))
        known = first.prompt_tokens + len(first.tokens)
        assert second.prompt_tokens - second.read_tokens == known
        # The token that ended the first answer had not been run.
        assert steps.tokens == second.read_tokens + 1 + len(second.tokens) - 1


def test_another_conversation_begins_at_the_beginning(
    engine: Engine, reasoning: ChatTemplate
) -> None:
    chat = ChatSession(engine, reasoning)
    ask(chat, "Hello?")
    chat.conversation = Conversation([{"role": "system", "content": "Be brief."}])
    expected = afresh(chat, "Hello?", 12)
    answer = ask(chat, "Hello?")
    assert answer.tokens == expected
    assert answer.read_tokens == answer.prompt_tokens


def test_a_question_that_does_not_fit_is_told_and_changes_nothing(
    engine: Engine, reasoning: ChatTemplate
) -> None:
    chat = ChatSession(engine, reasoning, context=60)
    ask(chat, "Hi", SamplingParams(max_new_tokens=5))
    before = list(chat.conversation.messages)
    with pytest.raises(CapacityError, match=r"context of 60; start anew with /reset.*--context"):
        chat.ask("the quick brown fox " * 20)
    assert chat.conversation.messages == before
    assert len(ask(chat, "Yes?", SamplingParams(max_new_tokens=3)).tokens) == 3


def test_an_answer_ends_with_the_context(engine: Engine, reasoning: ChatTemplate) -> None:
    chat = ChatSession(engine, reasoning, context=40)
    endless = SamplingParams(max_new_tokens=None, suppress_tokens=(end(engine),))
    answer = ask(chat, "Hi", endless)
    assert answer.finish_reason == "length"
    assert answer.prompt_tokens + len(answer.tokens) == 40


def test_memory_is_taken_as_an_answer_comes(engine: Engine, reasoning: ChatTemplate) -> None:
    chat = ChatSession(engine, reasoning)
    ask(chat, "Hi", saying(engine, "Hm."))
    taken = chat._session.state.capacity
    assert taken < chat._session.context // 2, "an answer without a limit reserves the context"


def test_an_answer_can_be_stopped_and_is_kept(engine: Engine, reasoning: ChatTemplate) -> None:
    chat = ChatSession(engine, reasoning)
    answer = chat.ask("Hello?", saying(engine, "hm\n</think>\n\nOne two three four five"))
    for part in answer:
        if part.kind == "answer":
            answer.stop()
    assert answer.finish_reason is None
    said = chat.conversation.messages[-1]
    assert said["reasoning_content"] == "hm"
    assert "One two three four five".startswith(said["content"])
    expected = afresh(chat, "Go on?", 12)
    assert ask(chat, "Go on?").tokens == expected


def test_an_answer_left_alone_is_closed_by_the_next(
    engine: Engine, reasoning: ChatTemplate
) -> None:
    chat = ChatSession(engine, reasoning)
    left = chat.ask("Hello?", SHORT)
    next(iter(left))
    ask(chat, "Again?")
    roles = [message["role"] for message in chat.conversation.messages]
    assert roles == ["user", "assistant"] * 2
    never = chat.ask("Never asked", SHORT)
    never.close()
    assert len(chat.conversation.messages) == 4


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), EngineError("broken")])
@pytest.mark.parametrize("call", [1, 2, 5])
def test_after_a_step_that_failed_the_conversation_goes_on(
    failure: BaseException,
    call: int,
    engine: Engine,
    reasoning: ChatTemplate,
) -> None:
    calls = 0

    def fail(_: int) -> None:
        nonlocal calls
        calls -= 1
        if calls == 0:
            raise failure

    with observed(engine, Steps(fail)):
        chat = ChatSession(engine, reasoning)
    ask(chat, "Hello?")
    calls = call
    answer = chat.ask("And now?", SHORT)
    with pytest.raises(type(failure)):
        list(answer)
    # Two steps read the question; what came after that is kept.
    assert len(chat.conversation.messages) == (4 if call > 2 else 2)
    expected = afresh(chat, "Go on?", 12)
    answer = ask(chat, "Go on?")
    assert answer.tokens == expected
    # What was set aside is still good, unless that holds the question that is not kept.
    assert (answer.read_tokens < answer.prompt_tokens) == (call != 2)


def test_a_template_that_says_nothing_is_told(engine: Engine) -> None:
    with ChatTemplate(TemplateFiles({"default": ""}, {}, "T")) as template:
        chat = ChatSession(engine, template)
        with pytest.raises(EngineError, match="makes no text of this"):
            chat.ask("Hello?")


def test_what_the_template_refuses_is_not_added(engine: Engine, reasoning: ChatTemplate) -> None:
    chat = ChatSession(engine, reasoning)
    with pytest.raises(InputError, match="The system message comes first"):
        chat.answer([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}])
    with pytest.raises(InputError, match="not UTF-8"):
        chat.ask("\udcff")
    assert chat.conversation.messages == []


def test_tools_are_called_and_answered(engine: Engine, reasoning: ChatTemplate) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    chat = ChatSession(engine, reasoning, tools=tools)
    call = "<tool_call>\n<function=look>\n</function>\n</tool_call>"
    ask(chat, "Look!", saying(engine, f"well\n</think>\n\n{call}"))
    assert chat.conversation.messages[-1]["content"] == call
    answer = chat.answer([{"role": "tool", "content": "a dog"}], SHORT)
    list(answer)
    # Within a turn reasoning stays, so everything is known but the end of it.
    assert answer.read_tokens < 30
    text = reasoning.render(chat.conversation.messages[:3], tools=tools, add_generation_prompt=True)
    assert engine.tokenizer is not None
    [completion] = engine.session().generate([engine.tokenizer.encode(text)], SHORT)
    assert answer.tokens == completion.tokens


def test_an_engine_without_a_tokenizer_is_refused(
    reasoning: ChatTemplate, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine.__dict__, "tokenizer", None)
    with pytest.raises(EngineError, match=r"has no tokenizer\.json, which chat needs"):
        ChatSession(engine, reasoning)


def test_a_tokenizer_of_another_model_is_told(
    reasoning: ChatTemplate, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltaport.text import TextTokenizer

    larger = TextTokenizer.load(save_qwen_like_tokenizer(tmp_path, vocab_size=720))
    monkeypatch.setitem(engine.__dict__, "tokenizer", larger)
    chat = ChatSession(engine, reasoning)
    with pytest.raises(InputError, match="the conversation, by the tokenizer"):
        chat.ask("Hello?")
