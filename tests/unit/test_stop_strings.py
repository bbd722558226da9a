"""Text ends before the first stop string, however it is cut, and little is held back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.runtime.stop_strings import StopStrings

LETTERS = st.text("ab", max_size=12)
STOPS = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """Text up to the stop string that is complete first; of those, the one that begins first."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(LETTERS, max_size=8), stops=STOPS)
def test_any_pieces_give_the_text_up_to_the_first_stop_string(
    pieces: list[str], stops: list[str]
) -> None:
    watch = StopStrings(stops)
    given = ""
    for i, piece in enumerate(pieces):
        given += watch.push(piece)
        expected, found = naive("".join(pieces[: i + 1]), stops)
        assert watch.found == found
        assert given == (expected if found else expected[: len(given)])
        if not found:
            held = expected[len(given) :]
            # What is held back may become a stop string, and nothing before it may.
            assert held == max(
                (expected[i:] for i in range(len(expected)) if could_begin(expected[i:], stops)),
                key=len,
                default="",
            )
    given += watch.finish()
    assert given == naive("".join(pieces), stops)[0]


def could_begin(text: str, stops: list[str]) -> bool:
    return any(stop.startswith(text) and stop != text for stop in stops)


@pytest.mark.parametrize(
    ("stops", "pieces", "given"),
    [
        (["aab"], ["aa", "a", "b"], ["", "a", ""]),
        (["abab"], ["ab", "aab", "ab"], ["", "aba", ""]),
        (["\n\n"], ["a\n", "b\n", "\n", "c"], ["a", "\nb", "", ""]),
        (["stop", "to"], ["s", "to", "p"], ["", "s", ""]),
        (["b", "aab"], ["aa", "b"], ["", ""]),
        (["xxabyy", "ab"], ["xxab", "yy"], ["xx", ""]),
        ([], ["a", "b"], ["a", "b"]),
    ],
)
def test_examples(stops: list[str], pieces: list[str], given: list[str]) -> None:
    watch = StopStrings(stops)
    assert [watch.push(piece) for piece in pieces] == given


def test_what_was_held_back_comes_at_the_end() -> None:
    watch = StopStrings(["END"])
    assert (watch.push("the EN"), watch.finish(), watch.finish()) == ("the ", "EN", "")
