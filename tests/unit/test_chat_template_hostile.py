"""Templates that mean harm, or are broken: one clear error or a text, soon, in little memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import deltaport.chat.template_process as template_process
from deltaport.chat import ChatTemplate
from deltaport.chat.template_files import TemplateFiles
from deltaport.errors import DeltaportError, EngineError, InputError
from tests.tokenizers_like_qwen import TEMPLATES

SECONDS = 8.0
"""What a template may take that does end: plenty, for machines with more to do."""
IMPATIENT = 2.0
MESSAGES = [{"role": "user", "content": "Hi"}]

ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "macros that call twice": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "a huge power": "{{ 10 ** (messages|length * 10 ** 8) % 7 }}",
    "a slow sum": "{{ range(99999) | sum(start=messages|length) }}" * 3000,
    "much nonsense": "{{ lipsum(n=10 ** 6) }}",
}
GREEDY = {
    "repetition": "{{ ('a' * messages|length) * 10 ** 9 }}",
    "a list repeated": "{{ ([messages] * 10 ** 10) | length }}",
    "doubling": "{% set n = namespace(s='aaaa') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}"
    "{% endfor %}{{ n.s | length }}",
    "replacing": "{% set n = namespace(s='a' * 64) %}{% for i in range(9) %}"
    "{% set n.s = n.s.replace('a', 'a' * 64) %}{% endfor %}{{ n.s | length }}",
    "joining": "{% set s = range(99999) | join('b' * 99999) %}{{ s | length }}",
    "a wide format": "{{ ('%' ~ 10 ** 9 ~ 'd') % messages|length }}",
    "a wide field": "{{ ('{:>' ~ 10 ** 9 ~ '}').format(1) }}",
    "centering": "{{ messages[0].role | center(10 ** 9) | length }}",
    "indenting": "{{ ('a\\n' * 20) | indent(10 ** 9) | length }}",
    "indented json": "{{ range(99) | list | tojson(indent=10 ** 9) | length }}",
    "folded constants": "{{ 'a' * 10 ** 9 }}",
}
LONG = {
    "one text": "{{ 'a' * 20 * 2 ** 20 * messages|length }}",
    "many pieces": "{% for i in range(99999) %}{{ 'b' * 1000 }}{% endfor %}",
    "wide characters": "{{ '\U0001f600' * 5 * 2 ** 20 * messages|length }}",
    "escapes": "{{ '\\x00' * 3 * 2 ** 20 * messages|length }}",
}
FORBIDDEN = {
    "classes": "{{ ''.__class__.__mro__ }}",
    "classes by format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "globals of a global": "{{ cycler.__init__.__globals__ }}",
    "globals of our function": "{{ raise_exception.__globals__['json'] }}",
    "code of our function": "{{ strftime_now.__code__.co_code }}",
    "the template itself": "{{ self._TemplateReference__context.environment }}",
    "a namespace's insides": "{{ namespace(__class__=1) }}",
    "a namespace's insides, set": "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    "appending": "{{ messages.append(1) }}",
    "changing a message": "{{ messages[0].update(role='system') }}",
    "clearing a message": "{% set _ = messages[0].clear() %}",
    "a generator's frame": "{{ (messages|map('upper')).gi_frame.f_globals }}",
}
BROKEN = {
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursion by loops": "{% for m in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "includes": "{% include '/etc/passwd' %}",
    "imports": "{% import 'os' as os %}",
    "inheritance": "{% extends 'base' %}",
    "no end": "{% for m in messages %}",
    "no such tag": "{% do messages %}",
    "no such filter": "{{ messages | eval }}",
    "parentheses": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "blocks in blocks": "{% if messages %}" * 5000 + "{% endif %}" * 5000,
    "lists in lists": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "operators in a row": "{{ messages" + "|list" * 20000 + " }}",
    "a sum in a row": "{{ 1" + "+messages|length" * 20000 + " }}",
    "dividing by zero": "\n\n{{ 1 / 0 }}",
    "nothing's attribute": "{{ nothing.at.all }}",
    "too large a range": "{{ range(10 ** 9) | list }}",
    "too many digits": "{{ 10 ** 9999 }}",
}
HARMLESS = {
    "nothing": ("", ""),
    "control characters": ("\0\x1b[2J\x07{{ '\\x1b]0;x\\x07' }}", "\0\x1b[2J\x07\x1b]0;x\x07"),
    "line ends of an answer": ("{{ '{\"text\": 1}\\n{}\\n' }}", '{"text": 1}\n{}\n'),
    "half an emoji": ("{{ '\\ud83d' }}{{ '\\ude00' }}", "\ud83d\ude00"),
    "printing of objects": ("{{ raise_exception is callable }}", "True"),
    "classes by filter": ("{{ ''|attr('__class__')|attr('__mro__') }}", ""),
    "classes by map": ("{{ ['']|map(attribute='__class__')|list }}", "[Undefined]"),
    "classes by format_map": ("{{ '{x.__class__}'.format_map({'x': 1}) }}", ""),
    "a dict's class": ("{{ dict(a=1).__class__ }}|{{ dict.fromkeys('a') }}", "|{'a': None}"),
}


@pytest.fixture(autouse=True)
def bounded() -> object:
    """Soon, and without the memory that the template wanted."""
    start = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - start < 2 * SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def failure(source: str, seconds: float = SECONDS) -> str:
    """The one line that a template ends in, having checked that the next call works again."""
    files = TemplateFiles({"default": source, "tool_use": "fine"}, {}, "T")
    with ChatTemplate(files, seconds=seconds) as template:
        with pytest.raises(DeltaportError) as raised:
            template.render(MESSAGES)
        assert template.render(MESSAGES, tools=[]) == "fine"
    message = str(raised.value)
    assert message.startswith("T: ")
    assert message.isprintable()
    assert len(message) < 500
    return message


def rendered(source: str, **files: str) -> str:
    with ChatTemplate(TemplateFiles({"default": source}, files, "T"), seconds=SECONDS) as template:
        return template.render(MESSAGES)


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_what_does_not_end_is_ended(source: str) -> None:
    assert "takes longer than 2 s" in failure(source, IMPATIENT)


@pytest.mark.parametrize("source", GREEDY.values(), ids=GREEDY)
def test_what_needs_too_much_memory_does_not_get_it(source: str) -> None:
    assert "needs too much memory" in failure(source)


@pytest.mark.parametrize("source", LONG.values(), ids=LONG)
def test_what_is_too_long_is_not_taken(source: str) -> None:
    assert "makes more than 16 MiB of text" in failure(source)


@pytest.mark.parametrize("source", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_reaches_for_python_or_changes_messages_is_stopped(source: str) -> None:
    assert "does what a chat template must not" in failure(source)


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_says_so(source: str) -> None:
    message = failure(source)
    assert "fails on this conversation" in message or "not a template" in message


@pytest.mark.parametrize(("source", "text"), HARMLESS.values(), ids=HARMLESS)
def test_what_harms_nobody_is_rendered(source: str, text: str) -> None:
    assert rendered(source) == text


def test_errors_name_the_line() -> None:
    assert failure("\n\n{{ 1 / 0 }}").startswith("T: fails on this conversation (line 3): Zero")
    assert failure("\n{% if %}").endswith("(line 2)")


def test_a_refusal_is_the_conversations_and_its_words_are_bounded() -> None:
    with pytest.raises(InputError, match=r"T: refuses this conversation: No\."):
        rendered("{{ raise_exception('No.') }}")
    assert len(failure("{{ raise_exception('\\n\\x1b[2J' * 10 ** 6) }}")) < 400


def test_an_error_whose_text_is_a_trap_is_bounded() -> None:
    assert len(failure("{{ messages['x' * 10 ** 7].y }}")) < 500


def test_the_worker_sees_neither_our_environment_nor_our_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[dict[str, str]] = []
    popen = subprocess.Popen

    def spy(*args: object, **options: object) -> object:
        started.append(options["env"])
        return popen(*args, **options)

    monkeypatch.setattr(template_process.subprocess, "Popen", spy)
    monkeypatch.setenv("SECRET", "x")
    for name in ("json", "jinja2", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert rendered("fine") == "fine"
    assert started
    assert "SECRET" not in started[0]


def worker(template: ChatTemplate) -> int:
    process = template._process._process
    assert process is not None
    return process.pid


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_process_serves_many_calls_and_ends_with_its_template() -> None:
    template = ChatTemplate(TemplateFiles({"default": "x"}, {}, "T"))
    template.render(MESSAGES)
    first = worker(template)
    template.render(MESSAGES)
    assert worker(template) == first
    template.close()
    assert not alive(first)
    template.render(MESSAGES)
    second = worker(template)
    del template
    assert not alive(second)


def test_a_process_that_was_killed_is_replaced() -> None:
    with ChatTemplate(TemplateFiles({"default": "x"}, {}, "T")) as template:
        template.render(MESSAGES)
        os.kill(worker(template), signal.SIGKILL)
        time.sleep(0.1)
        assert template.render(MESSAGES) == "x"


def test_ctrl_c_in_the_terminal_does_not_reach_the_worker() -> None:
    with ChatTemplate(TemplateFiles({"default": "x"}, {}, "T")) as template:
        template.render(MESSAGES)
        assert os.getpgid(worker(template)) != os.getpgid(0)


def test_the_worker_ends_with_its_parent_even_while_rendering() -> None:
    program = (
        "import threading, time, sys\n"
        "from deltaport.chat import ChatTemplate\n"
        "from deltaport.chat.template_files import TemplateFiles\n"
        f"t = ChatTemplate(TemplateFiles({{'default': {ENDLESS['nested loops']!r}}}, {{}}, 'T'),"
        " seconds=0.8)\n"
        "threading.Thread(target=t.render, args=([{'role': 'user'}],), daemon=True).start()\n"
        "while t._process._process is None: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "print(t._process._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 4
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_threads_share_a_template() -> None:
    source = "{% for i in range(2000) %}{{ messages[0].content }}{% endfor %}"
    with ChatTemplate(TemplateFiles({"default": source}, {}, "T")) as template:
        template.render(MESSAGES)  # from here on there is one process for all
        found: dict[int, str] = {}

        def ask(i: int) -> None:
            found[i] = template.render([{"role": "user", "content": str(i)}])

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {i: str(i) * 2000 for i in range(8)}


@pytest.mark.parametrize(
    ("executable", "frozen", "complaint"),
    [
        ("", False, "no python to start"),
        ("/bin/sh", True, "no python to start"),
        ("/nowhere/python", False, "/nowhere/python: cannot be started"),
        ("/bin/true", False, "ended the process"),
    ],
)
def test_a_python_that_cannot_be_started_is_told(
    executable: str, frozen: bool, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    with pytest.raises(EngineError, match=complaint):
        rendered("x")


def test_without_limits_of_the_system_clock_and_size_still_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on Windows, which has no ``resource`` and no interval timers."""
    source = Path(template_process.__file__).with_name("template_worker.py").read_text()
    crippled = tmp_path / "worker.py"
    hide = "import sys, signal; sys.modules['resource'] = None; del signal.setitimer\n"
    future = "from __future__ import annotations\n"
    crippled.write_text(source.replace(future, future + hide))
    monkeypatch.setattr(template_process, "_WORKER", crippled)
    assert rendered("fine") == "fine"
    assert "takes longer" in failure(ENDLESS["nested loops"], IMPATIENT)
    assert "16 MiB of text" in failure(LONG["many pieces"])


def test_the_packaged_templates_compile() -> None:
    for path in TEMPLATES.glob("*.jinja"):
        files = TemplateFiles({"default": path.read_text()}, {}, path.name)
        with ChatTemplate(files) as template:
            template.check()
