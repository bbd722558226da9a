"""The parts of the demo checkpoint's training that would go wrong in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.train_demo.config import NUM_EXPERTS, TOP_K, VOCAB_SIZE, demo_spec
from examples.train_demo.corpus import collect
from examples.train_demo.data import Stretches, with_repeats
from examples.train_demo.held_out import judge
from examples.train_demo.model import DemoModel
from examples.train_demo.objective import expert_counts, losses
from examples.train_demo.optimizer import orthogonal


@pytest.fixture(scope="module")
def model() -> DemoModel:
    """With random weights everywhere: as training starts, layers add nothing."""
    torch.manual_seed(5)
    model = DemoModel(demo_spec())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    return model


def source(seed: int, lines: int = 60) -> str:
    rng = np.random.default_rng(seed)
    return "".join(f"value_{chr(97 + i)} = call(other)\n" for i in rng.integers(0, 26, lines))


class TestCorpus:
    @pytest.fixture
    def library(self, tmp_path: Path) -> Path:
        for package in range(12):
            folder = tmp_path / f"package_{package}"
            folder.mkdir()
            for module in range(3):
                (folder / f"m{module}.py").write_text(source(10 * package + module, 500))
        (tmp_path / "top.py").write_text(source(998))
        return tmp_path

    def test_packages_are_held_out_whole(self, library: Path) -> None:
        corpus = collect(library)
        judged = {document.path.split("/")[0] for document in corpus.held_out}
        learnt = {document.path.split("/")[0] for document in corpus.training}
        assert judged
        assert learnt
        assert not judged & learnt
        assert len(corpus.held_out) + len(corpus.training) == 12 * 3 + 1

    def test_a_copy_of_what_is_held_out_is_not_learnt_from(self, library: Path) -> None:
        [first, *_] = collect(library).held_out
        changed = first.text.replace("value_a", "changed", 20)
        (library / "copy.py").write_text(changed)
        assert "copy.py" not in {document.path for document in collect(library).training}

    def test_tables_other_encodings_and_duplicates_are_left_out(self, library: Path) -> None:
        (library / "table.py").write_text("codes = [\n" + "    0x1234, 5678,\n" * 100 + "]\n")
        (library / "latin.py").write_bytes(source(997).encode() + "# Zürich".encode("latin-1"))
        (library / "twin.py").write_text((library / "top.py").read_text() + "# one more line\n")
        paths = {document.path for document in collect(library).training}
        assert paths.isdisjoint({"table.py", "latin.py", "twin.py"})
        assert "top.py" in paths


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 1))
def test_every_stretch_comes_once_before_any_comes_twice(
    count: int, length: int, phase: int
) -> None:
    ids = np.arange(count * length + length - 1, dtype=np.uint16)
    stretches = Stretches(ids, length, phase=phase)
    for epoch in range(2):
        seen = [tuple(stretches[epoch * count + i].tolist()) for i in range(count)]
        assert sorted(seen) == [tuple(range(i * length, (i + 1) * length)) for i in range(count)]


def test_rows_jump_back_and_read_on() -> None:
    rows = torch.arange(4000).view(40, 100)
    found = with_repeats(rows, 0.5, seed=(1, 2, 3))
    changed = (found != rows).any(dim=1)
    assert 10 < int(changed.sum()) < 30
    for row, original in zip(found[changed], rows[changed], strict=True):
        start = int(row[50] - original[0])
        assert 0 <= start < 50
        assert torch.equal(row[:50], original[:50])
        assert torch.equal(row[50:], original[start : start + 50])
    assert torch.equal(with_repeats(rows, 0.5, seed=(1, 2, 3)), found)
    assert torch.equal(rows, torch.arange(4000).view(40, 100))


@pytest.mark.parametrize("shape", [(64, 32), (32, 64), (3, 48, 16)])
def test_orthogonal_factors(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    factors = orthogonal(matrices)
    values = torch.linalg.svdvals(factors)
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.4
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity(
        factors.flatten(-2), (u @ vh).flatten(-2), dim=-1
    )
    assert float(cosine.min()) > 0.95


def test_the_head_guesses_the_token_after_the_next(model: DemoModel) -> None:
    """Its guess at place t may depend on tokens up to t + 1, and on no later one."""
    ids = torch.randint(VOCAB_SIZE, (1, 40), generator=torch.Generator().manual_seed(2))
    other = ids.clone()
    other[0, 20] += 1
    with torch.no_grad():
        (next_a, after_a), (next_b, after_b) = model(ids), model(other)
    assert next_a.shape == (1, 40, VOCAB_SIZE)
    assert after_a.shape == (1, 39, VOCAB_SIZE)

    def first(a: torch.Tensor, b: torch.Tensor) -> int:
        """Where they part by more than rounding, which other experts beside them may change."""
        return int(((a - b).abs().amax(-1) > 1e-3).nonzero()[0, 1])

    assert (first(next_a, next_b), first(after_a, after_b)) == (20, 19)


def test_losses_of_a_model_that_knows_nothing(model: DemoModel) -> None:
    ids = torch.randint(VOCAB_SIZE, (2, 30), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        head = model.lm_head.weight.clone()
        model.lm_head.weight.zero_()
        found = losses(model, ids)
        model.lm_head.weight.copy_(head)
    assert float(found["next"]) == pytest.approx(np.log(VOCAB_SIZE), rel=1e-6)
    assert float(found["after"]) == pytest.approx(np.log(VOCAB_SIZE), rel=1e-6)
    assert float(found["logit"]) == pytest.approx(np.log(VOCAB_SIZE) ** 2, rel=1e-6)
    assert float(found["balance"]) > 1


class Oracle(torch.nn.Module):
    """Knows the next token of rows that count up, and guesses the one after it."""

    def __init__(self, *, certain: float) -> None:
        super().__init__()
        self.certain = certain
        self.num_routers = 1
        self.router_logits = [torch.arange(float(NUM_EXPERTS)).expand(1, 1, -1)]

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one_hot = torch.nn.functional.one_hot
        after_one = one_hot(ids + 1, VOCAB_SIZE).float() * self.certain
        after_two = one_hot(ids[:, :-1] + 2, VOCAB_SIZE).float() * self.certain
        return after_one, after_two


def test_every_place_is_asked_for_the_right_token() -> None:
    """One place off in any target, and the loss is as large as the oracle is certain."""
    oracle: Any = Oracle(certain=50.0)
    rows = torch.arange(2 * 40).view(2, 40)
    found = losses(oracle, rows)
    assert float(found["next"]) < 1e-6
    assert float(found["after"]) < 1e-6
    ids = np.arange(304, dtype=np.uint16)
    judged = judge(oracle, ids, 100)
    assert judged.drafts_taken == 1.0
    assert judged.bits < 1e-6
    # A model that knows nothing pays for every token but the first, and for the padding nothing.
    assert judge(oracle_of_nothing(), ids, 100).bits == pytest.approx(302 * np.log2(VOCAB_SIZE))


def oracle_of_nothing() -> Any:
    return Oracle(certain=0.0)


def test_experts_are_counted() -> None:
    logits = torch.zeros(2, 3, NUM_EXPERTS)
    logits[:, :, :TOP_K] = 1.0
    logits[1, 2] = torch.arange(NUM_EXPERTS)
    expected = [5] * TOP_K + [0] * (NUM_EXPERTS - 2 * TOP_K) + [1] * TOP_K
    assert expert_counts(logits).tolist() == expected


def test_judgement_is_the_same_however_it_is_shared(
    model: DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.random.default_rng(4).integers(0, VOCAB_SIZE, 303).astype(np.uint16)
    whole = judge(model, ids, 100)
    assert whole.loads.mean(dim=1).tolist() == pytest.approx([1.0] * 9)
    sums: list[torch.Tensor] = []

    def reduce(own: torch.Tensor) -> None:
        """The second worker to come adds what the first had."""
        sums.append(own.clone())
        own += sum(sums[:-1], torch.zeros_like(own))

    monkeypatch.setattr("torch.distributed.all_reduce", reduce)
    judge(model, ids, 100, worker=0, workers=2)
    shared = judge(model, ids, 100, worker=1, workers=2)
    assert shared.bits == pytest.approx(whole.bits, rel=1e-6)
    assert shared.drafts_taken == pytest.approx(whole.drafts_taken)
    assert torch.equal(shared.loads, whole.loads)
