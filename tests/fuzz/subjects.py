"""What is fuzzed: files of checkpoints and engines, how each is damaged, and what then reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

from tests.fuzz.file_mutations import mutate_safetensors, mutate_template
from tests.fuzz.mutations import mutate_json

__all__ = ["SUBJECTS", "Subject", "mutated"]

Mutator: TypeAlias = Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class Subject:
    """A file that is damaged, in the well-formed folder called ``folder``.

    ``uses`` are called with that folder, each to end well or raise a ``DeltaportError``;
    ``commands`` are command lines that read the file, with ``FOLDER`` for the folder. ``inputs`` is
    how many damaged files the tests try.
    """

    name: str
    folder: str
    file: str
    mutate: Mutator
    uses: tuple[Callable[[Path], None], ...]
    commands: tuple[tuple[str, ...], ...]
    inputs: int


def mutated(subject: Subject, original: bytes, seed: int) -> bytes:
    """The damaged file number ``seed``."""
    return subject.mutate(Random(f"{subject.name} {seed}"), original)


def _check(folder: Path) -> None:
    """All that an export does before it traces the model."""
    from deltaport.exporter.export_plan import checked

    with checked(folder, dtype="auto", accept_fields=()):
        pass


def _recommend(folder: Path) -> None:
    from deltaport.runtime.generation_config import recommended

    recommended(folder)


def _inspect(folder: Path) -> None:
    from deltaport.cli.facts import gather

    gather(folder)


def _run(folder: Path) -> None:
    from deltaport.runtime import Engine

    session = Engine.open(folder, threads=1).session(sequences=2)
    session.prefill([[1], [2]])  # one token each, as the manifest may allow no more


def _read_text(folder: Path) -> None:
    from deltaport.text import TextTokenizer

    tokenizer = TextTokenizer.load(folder)
    ids = tokenizer.encode("The quick brown fox<|endoftext|> Grüße 你好 🦊\n\n  123 " + "a" * 2000)
    tokenizer.decode([*ids, 0, 299, 2**31])
    stream = tokenizer.stream()
    for token in ids[:40]:
        stream.push(token)
    stream.finish()


def _chat(folder: Path) -> None:
    from deltaport.chat import ChatTemplate

    with ChatTemplate.load(folder, seconds=1.0) as template:
        template.render(
            [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}],
            add_generation_prompt=True,
        )


def _of_checkpoint(
    name: str, folder: str, file: str, inputs: int, mutate: Mutator = mutate_json
) -> Subject:
    uses = (_check, _inspect) + ((_recommend,) if "generation" in name else ())
    return Subject(name, folder, file, mutate, uses, (("inspect", "FOLDER"),), inputs)


_ENGINE = ("run", "FOLDER", "-n", "2", "--quiet")

SUBJECTS = {
    subject.name: subject
    for subject in (
        _of_checkpoint("config", "fused", "config.json", 60),
        _of_checkpoint("per-expert config", "sharded", "config.json", 20),
        _of_checkpoint("generation config", "fused", "generation_config.json", 20),
        _of_checkpoint("safetensors", "fused", "model.safetensors", 60, mutate_safetensors),
        _of_checkpoint("index", "sharded", "model.safetensors.index.json", 30),
        Subject(
            "manifest",
            "engine",
            "manifest.json",
            mutate_json,
            uses=(_run, _inspect),
            commands=(("inspect", "FOLDER"), (*_ENGINE, "--ids", "1,2")),
            inputs=50,
        ),
        Subject(
            "tokenizer",
            "engine",
            "tokenizer.json",
            mutate_json,
            uses=(_read_text,),
            commands=((*_ENGINE, "-p", "The fox"),),
            inputs=40,
        ),
        Subject(
            "chat template", "chat", "chat_template.jinja", mutate_template, (_chat,), (), inputs=12
        ),
        Subject(
            "tokenizer config", "chat", "tokenizer_config.json", mutate_json, (_chat,), (), inputs=8
        ),
    )
}
