"""Engines against transformers: logits at every position, final state, greedy tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from deltaport.numerics import Quantity, relative_error, tolerance
from tests.greedy import greedy
from tests.parity.conftest import Original, Subject
from tests.parity.oracle import GREEDY_TOKENS, Reference
from tests.parity.state_errors import state_errors
from tests.parity.table import ROW, Row

LENGTHS = (1, 2, 63, 64, 65, 129, 200)
REPEATED = 100
CHUNKS = (512, 64, 17, 1)


@pytest.fixture(scope="module")
def references(original: Original) -> list[Reference]:
    seed = original.case.seed
    references = [original.prompt(seed, length) for length in LENGTHS]
    return [*references, original.prompt(seed, REPEATED, repeat=True)]


def test_engine_agrees_with_transformers(
    subject: Subject, references: list[Reference], record_property: Callable[[str, Row], None]
) -> None:
    worst: dict[str, float] = defaultdict(float)
    matched = 0
    for reference in references:
        for chunk_size in CHUNKS:
            session = subject.engine.session()
            (logits,) = session.prefill([reference.prompt], chunk_size=chunk_size, logits="all")
            assert logits is not None
            where = f"{len(reference.prompt)} tokens in chunks of {chunk_size}"

            error = relative_error(logits, reference.logits)
            assert error <= tolerance(Quantity.LOGITS), f"{where}: logits off by {error:g}"
            worst["logits"] = max(worst["logits"], error)

            for kind, error in state_errors(session, reference).items():
                assert error <= tolerance(Quantity.MODEL_STATE), f"{where}: {kind} {error:g}"
                worst[kind] = max(worst[kind], error)

            (tokens,) = greedy(session, new=GREEDY_TOKENS, stop=())
            assert tokens == reference.greedy, where
            matched += 1
    record_property(
        ROW,
        (
            subject.original.case.name,
            subject.label,
            *(f"{worst[kind]:.1e}" for kind in ("logits", "conv", "recurrent", "kv")),
            f"{matched} x {GREEDY_TOKENS} equal",
            f"{min(reference.margin for reference in references):.1e}",
        ),
    )
