"""What the documentation shows in Python runs as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deltaport.runtime import Engine, SamplingParams
from tests.docs.pages import DOCS, code_blocks, page


def run(name: str, engine: Path) -> dict[str, Any]:
    """Run the blocks of a page in order, in one namespace; errors show the page's own lines."""
    namespace: dict[str, Any] = {"ENGINE": str(engine)}
    blocks = code_blocks(page(name), "python")
    assert blocks
    for line, source in blocks:
        exec(compile("\n" * line + source, str(DOCS / name), "exec"), namespace)
    return namespace


def test_the_python_api(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a conversation is saved
    names = run("python-api.md", engine)
    assert names["recommended"].temperature == 0.6
    assert len(names["number"].tokens) == 4
    assert names["answer"].tokens
    assert len(names["chat"].conversation.messages) == 5


def test_evaluating_from_python(engine: Path) -> None:
    found = run("eval.md", engine)["found"]
    assert found.comparison.top1 == 1.0


def test_plain_onnxruntime_gives_what_a_session_gives(engine: Path) -> None:
    tokens = run("engine-folder.md", engine)["tokens"]
    params = SamplingParams(max_new_tokens=8, ignore_eos=True)
    [completion] = Engine.open(engine).session().generate([[1, 2, 3]], params)
    assert tokens == [1, 2, 3, *completion.tokens]
