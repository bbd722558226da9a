import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deltaport.text
from deltaport.errors import EngineError, InputError
from deltaport.text import TextTokenizer
from tests.checkpoints import CORPUS, VOCAB_SIZE, save_tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
END_OF_TEXT = "<|endoftext|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> TextTokenizer:
    return TextTokenizer.load(folder)


def pieces_of(tokenizer: TextTokenizer, ids: list[int]) -> list[str]:
    stream = tokenizer.stream()
    return [*(stream.push(token) for token in ids), stream.finish()]


@pytest.mark.parametrize("text", [*CORPUS, "", " ", "\n\t", "never seen: ʎɐqǝ 🏳️‍🌈 \0"])
def test_text_survives(tokenizer: TextTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_streamed_text_is_whole_and_never_half_a_character(
    tokenizer: TextTokenizer, text: str
) -> None:
    pieces = pieces_of(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text
    if REPLACEMENT not in text:
        assert not any(REPLACEMENT in piece for piece in pieces)


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=150))
def test_streaming_any_tokens_gives_the_text_of_all(
    tokenizer: TextTokenizer, ids: list[int]
) -> None:
    # Most such sequences are not UTF-8, as with a model that has lost its way.
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_character_appears_with_its_last_byte(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("ʎ!")
    assert len(ids) == 3
    assert pieces_of(tokenizer, ids) == ["", "ʎ", "!", ""]


def test_a_character_that_is_never_completed_is_shown_at_the_end(tokenizer: TextTokenizer) -> None:
    first_byte = tokenizer.encode("ʎ")[0]
    assert pieces_of(tokenizer, [first_byte]) == ["", REPLACEMENT]


def test_special_tokens_between_the_bytes_of_a_character(tokenizer: TextTokenizer) -> None:
    first, second = tokenizer.encode("ʎ")
    [special] = tokenizer.encode(END_OF_TEXT)
    pieces = pieces_of(tokenizer, [first, *[special] * 100, second])
    assert "".join(pieces) == "ʎ"


class CountingTokenizer(TextTokenizer):
    longest = 0

    def decode(self, ids: Any) -> str:
        self.longest = max(self.longest, len(ids))
        return super().decode(ids)


@pytest.mark.parametrize("text", ["a" * 5000, REPLACEMENT * 3000])
def test_the_cost_of_a_token_does_not_grow(folder: Path, text: str) -> None:
    tokenizer = CountingTokenizer.load(folder)
    assert isinstance(tokenizer, CountingTokenizer)
    ids = tokenizer.encode(text)
    assert len(ids) > 1000
    assert "".join(pieces_of(tokenizer, ids)) == text
    assert tokenizer.longest < 64


def test_special_tokens_are_read_and_not_printed(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode(f"a{END_OF_TEXT}b")
    assert len(ids) == 3
    assert tokenizer.decode(ids) == "ab"


def test_ids_beyond_the_tokenizer_give_no_text(tokenizer: TextTokenizer) -> None:
    # Models pad their vocabulary, so they can produce such ids.
    assert tokenizer.decode([*tokenizer.encode("ab"), 2**31 - 1]) == "ab"


@pytest.mark.parametrize("ids", [[-1], [2**40]])
def test_ids_no_model_has_are_an_error(tokenizer: TextTokenizer, ids: list[int]) -> None:
    with pytest.raises(EngineError, match="fails on these token ids"):
        tokenizer.decode(ids)


def test_settings_for_training_are_dropped(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    document["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    document["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": END_OF_TEXT,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    ids = TextTokenizer.load(tmp_path).encode(CORPUS[0])
    assert ids == TextTokenizer.load(folder).encode(CORPUS[0])


def test_text_that_is_not_unicode(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InputError, match="not UTF-8 at character 1"):
        tokenizer.encode("a\udcffb")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe\0",
        b'{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
        b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
        b'{"version": "1.0", "model": {"type": "NoSuchModel"}}',
        b"[" * 100_000,
    ],
    ids=lambda content: str(content[:40]),
)
def test_files_that_are_no_tokenizers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(EngineError, match=r"tokenizer\.json: not a tokenizer") as caught:
        TextTokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_every_truncation_of_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "tokenizer.json").read_bytes().rstrip()
    for length in range(0, len(whole), 97):
        (tmp_path / "tokenizer.json").write_bytes(whole[:length])
        with pytest.raises(EngineError, match="not a tokenizer"):
            TextTokenizer.load(tmp_path)


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="missing, so this engine takes and gives token ids only"):
        TextTokenizer.load(tmp_path)


def test_a_folder_in_place_of_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(EngineError, match="not a regular file"):
        TextTokenizer.load(tmp_path)


def test_a_tokenizer_too_large_to_be_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltaport.text, "SIZE_LIMIT", 1000)
    with pytest.raises(EngineError, match="not a tokenizer"):
        TextTokenizer.load(folder)


class PanicException(BaseException):
    """Named as the class that pyo3 raises for a Rust panic, which nothing exports."""


class Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def encode(self, _: str, **options: bool) -> None:
        raise self.error


def test_a_panic_of_the_library_is_an_error_like_others() -> None:
    tokenizer = TextTokenizer(Failing(PanicException("index out of bounds")), "tokenizer.json")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="fails on this text"):
        tokenizer.encode("a")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_what_is_not_about_the_tokenizer_passes(error: BaseException) -> None:
    tokenizer = TextTokenizer(Failing(error), "tokenizer.json")  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        tokenizer.encode("a")
