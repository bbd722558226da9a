"""Telling a model's reasoning from its answer: ``<think>...</think>``, as the family writes it."""

from __future__ import annotations

from typing import Literal

__all__ = ["Kind", "ReasoningSplitter", "is_reasoning_open", "split_reasoning"]

Kind = Literal["reasoning", "answer"]

_OPEN, _CLOSE = "<think>", "</think>"


def is_reasoning_open(prompt: str) -> bool:
    """Whether a prompt ends inside a reasoning block, so that the model starts out reasoning."""
    return prompt.rstrip().endswith(_OPEN)


def split_reasoning(text: str, *, opened: bool) -> tuple[str, str]:
    """Reasoning and answer of a text; either may be empty.

    ``opened``: the prompt ended inside a reasoning block. Line breaks beside the marks belong to
    neither part. A block that is never closed is reasoning to its end.
    """
    splitter = ReasoningSplitter(opened=opened)
    parts: dict[Kind, str] = {"reasoning": "", "answer": ""}
    for kind, piece in [*splitter.push(text), *splitter.finish()]:
        parts[kind] += piece
    return parts["reasoning"], parts["answer"]


class ReasoningSplitter:
    """Splits text that comes in pieces, as :func:`split_reasoning` does when it is complete."""

    def __init__(self, *, opened: bool) -> None:
        self._held = ""  # what may turn out to be part of a mark, or a line break beside one
        self._stage: Literal["start", "reasoning", "answer"] = "reasoning" if opened else "start"
        self._begun = False  # the stage has given text, so line breaks are its own

    def push(self, text: str) -> list[tuple[Kind, str]]:
        """What is certain now and was not before."""
        given: list[tuple[Kind, str]] = []
        self._held += text
        if self._stage == "start":
            self._look_for_opening()
        if self._stage == "reasoning":
            before, mark, after = self._held.partition(_CLOSE)
            # Line breaks are held back: they are dropped if the closing mark follows them.
            certain = len(before.rstrip("\n")) if mark else _certain(self._held)
            self._give(given, "reasoning", before[:certain])
            self._held = after if mark else self._held[certain:]
            if mark:
                self._stage, self._begun = "answer", False
        if self._stage == "answer":
            self._give(given, "answer", self._held)
            self._held = ""
        return given

    def finish(self) -> list[tuple[Kind, str]]:
        """What was held back: no mark will follow."""
        given: list[tuple[Kind, str]] = []
        if self._stage == "reasoning":
            self._give(given, "reasoning", self._held.rstrip("\n"))
        else:
            self._begun = self._stage == "start" or self._begun
            self._give(given, "answer", self._held)
        self._held = ""
        return given

    def _look_for_opening(self) -> None:
        start = self._held.lstrip()
        if start.startswith(_OPEN):
            self._stage, self._held = "reasoning", start.removeprefix(_OPEN)
        elif not _OPEN.startswith(start):
            self._stage, self._begun = "answer", True

    def _give(self, given: list[tuple[Kind, str]], kind: Kind, text: str) -> None:
        if not self._begun:
            text = text.lstrip("\n")
        if text:
            self._begun = True
            given.append((kind, text))


def _certain(text: str) -> int:
    """Characters before line breaks and the beginning of a closing mark at the end of ``text``."""
    for length in range(min(len(_CLOSE) - 1, len(text)), 0, -1):
        if text.endswith(_CLOSE[:length]):
            text = text[:-length]
            break
    return len(text.rstrip("\n"))
