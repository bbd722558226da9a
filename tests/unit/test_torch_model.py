"""The eager modules: the same numbers and the same gradients as transformers, ragged included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.torch_model import Decoder
from deltaport.numerics import Quantity, relative_error, tolerance
from tests.checkpoints import build_model

CAPACITY = 96
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"kind": "dense", "attention_bias": True},
    "moe": {"kind": "moe", "linear_num_value_heads": 6},
    "tied": {"kind": "dense", "tie": True},
}


@pytest.fixture(scope="module", params=KINDS, ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Decoder]:
    """A transformers model and our decoder with its weights."""
    theirs = build_model(seed=11, **KINDS[request.param])
    theirs.config._attn_implementation = "eager"
    spec = ModelSpec.from_config(theirs.config.to_dict(), source="test")
    ours = Decoder(spec)
    weights = {k: v for k, v in theirs.state_dict().items() if k in parameter_shapes(spec)}
    ours.load_state_dict(weights, strict=True)
    return theirs, ours


def step(
    decoder: Decoder, rows: list[list[int]], past: list[int], state: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Run ragged ``rows`` after ``past`` tokens; logits per row, and the new state."""
    T = max(map(len, rows))
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), T, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
    past_lengths = torch.tensor(past)
    positions = (past_lengths[:, None] + torch.arange(T)).expand(3, -1, -1)
    index = torch.tensor([i * T + t for i, row in enumerate(rows) for t in range(len(row))])
    logits, state, _ = decoder(ids, positions, lengths, past_lengths, index, state)
    return list(logits.split([len(row) for row in rows])), state


def prompt(seed: int, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 300, (length,), generator=generator).tolist()


def test_parameters_are_those_of_the_specification(pair: tuple[Any, Decoder]) -> None:
    _, ours = pair
    shapes = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    assert shapes == parameter_shapes(ours.spec)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 64, 70])
def test_logits_equal_transformers(pair: tuple[Any, Decoder], length: int) -> None:
    theirs, ours = pair
    tokens = prompt(length, length)
    (logits,), _ = step(ours, [tokens], [0], ours.initial_state(1, CAPACITY))
    expected = theirs(torch.tensor([tokens])).logits[0]
    assert relative_error(logits.numpy(), expected.numpy()) <= tolerance(Quantity.LOGITS)


@torch.no_grad()
def test_ragged_steps_equal_each_row_alone(pair: tuple[Any, Decoder]) -> None:
    _, ours = pair
    pieces = [[prompt(1, 5), [], prompt(2, 66)], [prompt(3, 7), prompt(4, 1), []],
              [[], prompt(5, 20), prompt(6, 3)]]  # fmt: skip
    state, past = ours.initial_state(3, CAPACITY), [0, 0, 0]
    for rows in pieces:
        logits, state = step(ours, rows, past, state)
        past = [p + len(row) for p, row in zip(past, rows, strict=True)]
    for row in range(3):
        tokens = [token for rows in pieces for token in rows[row]]
        (alone,), alone_state = step(ours, [tokens], [0], ours.initial_state(1, CAPACITY))
        n = len(logits[row])
        if n:
            error = relative_error(logits[row].numpy(), alone[-n:].numpy())
            assert error <= tolerance(Quantity.LOGITS)
        for ragged, single in zip(state, alone_state, strict=True):
            if ragged.shape[-2] == CAPACITY:
                ragged, single = ragged[:, :, : len(tokens)], single[:, :, : len(tokens)]
            error = relative_error(ragged[row : row + 1].numpy(), single.numpy())
            assert error <= tolerance(Quantity.MODEL_STATE)


def test_gradients_equal_transformers(pair: tuple[Any, Decoder]) -> None:
    theirs, ours = pair
    tokens = prompt(9, 70)
    targets = torch.tensor(tokens[1:])

    def loss_of(logits: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits[:-1], targets)

    ours.zero_grad()
    theirs.zero_grad()
    loss_of(step(ours, [tokens], [0], ours.initial_state(1, CAPACITY))[0][0]).backward()
    loss_of(theirs(torch.tensor([tokens])).logits[0]).backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        assert expected[name].grad is not None, name
        error = relative_error(parameter.grad.numpy(), expected[name].grad.numpy())
        assert error <= tolerance(Quantity.LOGITS), f"{name}: {error:g}"
