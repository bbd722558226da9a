"""Products with quantized weights read what the oracle of rounding gives, all others their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from deltaport.verify.rounded_activations import RoundedActivations
from tests.oracles.quantized_weights import rounded_token


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 100),
    tokens=st.integers(1, 5),
    magnitude=st.sampled_from([1e-31, 1e-20, 1.0, 1e20]),
    seed=st.integers(0, 2**32 - 1),
)
def test_activations_are_rounded_as_the_oracle_says(
    width: int, tokens: int, magnitude: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((tokens, width)) * magnitude).astype(np.float32)
    x[0, : width // 2] = 0
    weight = torch.eye(width)
    with RoundedActivations([weight]):
        found = F.linear(torch.from_numpy(x), weight).numpy()
    padded = -(-width // 32) * 32
    expected = np.stack([rounded_token(token, padded)[:width] for token in x])
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=0)


def test_what_is_no_number_stays_none() -> None:
    x = torch.ones(3, 64)
    x[0, 40], x[1, 3] = torch.nan, torch.inf
    with RoundedActivations([weight := torch.eye(64)]):
        found = F.linear(x, weight)
    assert found[:2].isnan().any(1).all()
    assert torch.equal(found[2], x[2])


@pytest.mark.parametrize("product", [F.linear, lambda x, w: torch.matmul(x, w.t())])
def test_a_part_of_a_weight_is_known_and_another_weight_is_not(product: object) -> None:
    experts, other = torch.randn(3, 8, 64), torch.randn(8, 64)
    x = torch.randn(2, 64)
    assert callable(product)
    plain = [product(x, weight) for weight in (experts[1], other)]
    with RoundedActivations([experts]):
        rounded = [product(x, weight) for weight in (experts[1], other)]
    assert not torch.equal(rounded[0], plain[0])
    torch.testing.assert_close(rounded[0], plain[0], rtol=0, atol=0.3)
    assert torch.equal(rounded[1], plain[1])
    assert torch.equal(product(x, experts[1]), plain[0]), "left as it was"
