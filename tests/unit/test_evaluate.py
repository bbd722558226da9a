"""Predicting a text with a toy whose logits are known, against sums spelled out in Python."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deltaport.errors import EngineError, InputError
from deltaport.evaluate import Estimate, EvaluateEvents, Evaluation, Score, evaluate
from deltaport.runtime import Engine
from tests.runtime.toy_engine import GRAPH, MAX_POSITIONS, VOCAB, toy_logits, write_toy
from tests.runtime.toy_tokenizer import write_toy_tokenizer

LETTERS = "aabcbcabxyzz. é\na€b.🦊xa"
OTHER = GRAPH.replace("float five = {5}", "float five = {6}")
"""As the toy, but with a step of 6 in its favourites, from one place to the next."""


def toy(folder: Path, graph: str = GRAPH) -> Engine:
    write_toy(folder, graph=graph)
    write_toy_tokenizer(folder)
    return Engine.open(folder, threads=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return toy(tmp_path_factory.mktemp("toy") / "engine")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return toy(tmp_path_factory.mktemp("other") / "engine", OTHER)


def tokens_of(engine: Engine, text: str) -> list[int]:
    assert engine.tokenizer is not None
    return engine.tokenizer.encode(text)


def log_probabilities(logits: Sequence[float]) -> list[float]:
    """The definition, in Python's own floats."""
    total = math.log(math.fsum(math.exp(x - max(logits)) for x in logits)) + max(logits)
    return [x - total for x in logits]


def beliefs(tokens: list[int], context: int, *, extra: int = 0) -> list[list[float]]:
    """Log-probabilities after every token but the last, by the toy's formula.

    ``extra``: how much further than the toy's the favourite goes from one place to the next.
    """
    found = []
    for start in range(0, len(tokens) - 1, context):
        given = tokens[start : start + context][: len(tokens) - 1 - start]
        for place, logits in enumerate(toy_logits(given)):
            favourite = (int(logits.argmax()) + extra * place) % (VOCAB - 1)
            found.append(log_probabilities([-((v - favourite) ** 2) for v in range(VOCAB)]))
    return found


def test_bits_are_those_of_a_coder(engine: Engine) -> None:
    tokens = tokens_of(engine, LETTERS)
    expected = [
        -own[target] for own, target in zip(beliefs(tokens, len(tokens)), tokens[1:], strict=True)
    ]
    found = evaluate(engine, LETTERS)
    assert found.reference is found.comparison is None
    size = len(LETTERS.encode())
    assert (found.size, found.tokens) == (size, len(tokens))
    assert (found.context, found.contexts) == (MAX_POSITIONS, 1)
    bits = (math.fsum(expected) + math.log(VOCAB)) / math.log(2)
    assert found.score.bits_per_byte == pytest.approx(bits / size, rel=1e-12)
    mean = math.fsum(expected) / len(expected)
    assert found.score.nats.mean == pytest.approx(mean, rel=1e-12)
    assert found.score.perplexity.mean == pytest.approx(math.exp(mean), rel=1e-9)
    deviation = math.fsum((x - mean) ** 2 for x in expected) / (len(expected) - 1)
    error = math.sqrt(deviation / len(expected))
    assert found.score.nats.standard_error == pytest.approx(error, rel=1e-12)
    assert found.score.perplexity.standard_error == pytest.approx(math.exp(mean) * error, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_contexts_and_steps(engine: Engine, data: st.DataObject) -> None:
    text = "".join(data.draw(st.lists(st.sampled_from(LETTERS), min_size=2, max_size=60)))
    tokens = tokens_of(engine, text)
    assume(len(tokens) > 1)  # "ab" is one
    context = data.draw(st.integers(1, len(tokens) + 3))
    totals, advances = list[int](), list[int]()
    with pytest.MonkeyPatch.context() as patch:
        totals, advances = list[int](), list[int]()
    events = EvaluateEvents(totals.append, advances.append)
    with pytest.MonkeyPatch.context() as patch:
        # So that some steps are as short as one token, whatever the context.
        at_once = VOCAB * data.draw(st.integers(0, 9))
        patch.setattr("deltaport.evaluate.predict_text.LOGITS_AT_ONCE", at_once)
        found = evaluate(engine, text, context=context, events=events)
    expected = [
        -own[target] for own, target in zip(beliefs(tokens, context), tokens[1:], strict=True)
    ]
    assert found.score.nats.mean == pytest.approx(math.fsum(expected) / len(expected), rel=1e-12)
    assert found.contexts == math.ceil((len(tokens) - 1) / context)
    assert totals == [len(tokens) - 1]
    assert sum(advances) == len(tokens) - 1


@pytest.mark.parametrize("context", [7, None])
def test_two_engines_side_by_side(engine: Engine, other: Engine, context: int | None) -> None:
    tokens = tokens_of(engine, LETTERS)
    found = evaluate(other, LETTERS, against=engine, context=context)
    most = context or MAX_POSITIONS
    own, reference = beliefs(tokens, most, extra=1), beliefs(tokens, most)
    divergences = [
        math.fsum(math.exp(p) * (p - q) for p, q in zip(wanted, given, strict=True))
        for wanted, given in zip(reference, own, strict=True)
    ]
    same = [a.index(max(a)) == b.index(max(b)) for a, b in zip(own, reference, strict=True)]
    assert 0 < sum(same) < len(same), "else the test shows little"
    compared = found.comparison
    assert compared is not None
    assert compared.kl.mean == pytest.approx(math.fsum(divergences) / len(divergences), rel=1e-9)
    assert compared.kl_max == pytest.approx(max(divergences), rel=1e-9)
    assert compared.kl_median == pytest.approx(float(np.median(divergences)), rel=1e-9)
    assert compared.top1 == sum(same) / len(same)
    more = [b[t] - a[t] for a, b, t in zip(own, reference, tokens[1:], strict=True)]
    assert math.log(compared.ratio.mean) == pytest.approx(math.fsum(more) / len(more), rel=1e-9)

    # Each scores as it would alone.
    assert found.score == evaluate(other, LETTERS, context=context).score
    assert found.reference == evaluate(engine, LETTERS, context=context).score


def test_an_engine_and_itself(engine: Engine) -> None:
    compared = evaluate(engine, LETTERS, against=engine).comparison
    assert compared is not None
    assert (compared.kl, compared.kl_max, compared.top1) == (Estimate(0.0, 0.0), 0.0, 1.0)
    assert compared.ratio == Estimate(1.0, 0.0)


def test_json_has_no_word_for_infinity() -> None:
    assert Estimate(800.0, 1.0).exponential.mean == math.inf
    found = Evaluation(
        1, 2, 3, 1, score=_score(nats=[800.0]), reference=None, comparison=None
    ).to_json()
    assert found["score"]["perplexity"]["mean"] is None
    assert found["score"]["nats_per_token"] == {"mean": 800.0, "standard_error": 0.0}
    json.dumps(found, allow_nan=False)


def _score(nats: list[float]) -> Score:
    return Score.of(Path("e"), np.array(nats), size=1, vocab_size=VOCAB)


def test_logits_that_are_no_numbers(tmp_path: Path) -> None:
    broken = toy(
        tmp_path / "broken", GRAPH.replace("logits = Neg(squared)", "logits = Log(distance)")
    )
    with pytest.raises(EngineError, match="broken: gives logits that are not finite after token 0"):
        evaluate(broken, LETTERS)


@pytest.mark.parametrize("text", ["", "a"])
def test_nothing_to_predict(engine: Engine, text: str) -> None:
    with pytest.raises(InputError, match=f"^too little text: {len(text)} of the at least 2 tokens"):
        evaluate(engine, text)


def test_no_tokenizer(tmp_path: Path) -> None:
    bare = Engine.open(write_toy(tmp_path / "bare"), threads=1)
    with pytest.raises(EngineError, match=r"bare: has no tokenizer\.json"):
        evaluate(bare, LETTERS)


@pytest.mark.parametrize("text", ["abxa", "abxaxaab"])
def test_tokens_the_model_does_not_have(tmp_path: Path, text: str) -> None:
    write_toy(tmp_path / "more")
    write_toy_tokenizer(tmp_path / "more", extra=(b"xa",))
    expected = rf"more/tokenizer\.json: gives token {VOCAB}, expected 0 to {VOCAB - 1}; copy"
    with pytest.raises(EngineError, match=expected):
        evaluate(Engine.open(tmp_path / "more", threads=1), text)


def test_engines_of_other_models(engine: Engine, tmp_path: Path) -> None:
    more = toy(tmp_path / "more")
    more.manifest = replace(more.manifest, vocab_size=VOCAB + 1)
    with pytest.raises(InputError, match=f"chooses from {VOCAB + 1} tokens, .* from {VOCAB}"):
        evaluate(more, LETTERS, against=engine)
    write_toy(tmp_path / "cuts")
    write_toy_tokenizer(tmp_path / "cuts")
    file = tmp_path / "cuts" / "tokenizer.json"
    document = json.loads(file.read_text())
    document["model"]["merges"] = []
    file.write_text(json.dumps(document))
    cuts = Engine.open(tmp_path / "cuts", threads=1)
    with pytest.raises(InputError, match="cut the text into other tokens"):
        evaluate(cuts, LETTERS, against=engine)


@pytest.mark.parametrize("context", [0, MAX_POSITIONS + 1, 2.5])
def test_context(engine: Engine, context: object) -> None:
    with pytest.raises(InputError, match=rf"^context is .*, 1 to {MAX_POSITIONS}$"):
        evaluate(engine, LETTERS, context=context)  # type: ignore[arg-type]
