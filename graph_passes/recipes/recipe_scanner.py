"""Reading the words of a recipe's text one after another, and saying where one is wrong."""

from __future__ import annotations

import re
from typing import NoReturn

from deltaport.strict_json import quote

__all__ = ["RecipeProblem", "RecipeScanner"]

_SPACE = re.compile(r"[ \n]*")
_WHOLE = re.compile(r"[0-9]{1,18}(?![0-9])")


class RecipeProblem(ValueError):  # noqa: N818 - it is a reason, wrapped by whoever raises
    """What is wrong with the text, as in "at character 12 ('x)'): expected ':'"."""


class RecipeScanner:
    """``at`` is the next character that is not space; what was read lies behind it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip_space()

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        """Raise :class:`RecipeProblem` about the text from ``at`` or from here."""
        at = self.at if at is None else at
        found = quote(self.text[at : at + 30]) if at < len(self.text) else "the end"
        raise RecipeProblem(f"at character {at + 1} ({found}): {problem}")

    def found(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what matches, if it does."""
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
            self._skip_space()
        return match

    def expect(self, pattern: re.Pattern[str], what: str) -> str:
        """Read what must match."""
        match = self.found(pattern)
        return self.fail(f"expected {what}") if match is None else match[0]

    def found_text(self, text: str) -> bool:
        """Read ``text``, if it is there."""
        if not self.text.startswith(text, self.at):
            return False
        self.at += len(text)
        self._skip_space()
        return True

    def expect_text(self, text: str) -> None:
        """Read ``text``, which must be there."""
        if not self.found_text(text):
            self.fail(f"expected {text!r}")

    def whole(self) -> int:
        """A whole number, which fits 64 bits."""
        return int(self.expect(_WHOLE, "a whole number of at most 18 digits"))

    def wholes(self, opening: str, closing: str) -> tuple[int, ...]:
        """Whole numbers between brackets; a comma may follow the last."""
        self.expect_text(opening)
        numbers: list[int] = []
        while not self.found_text(closing):
            numbers.append(self.whole())
            if not self.found_text(","):
                self.expect_text(closing)
                break
        return tuple(numbers)

    def _skip_space(self) -> None:
        space = _SPACE.match(self.text, self.at)
        assert space is not None, "no space matches, too"
        self.at = space.end()
