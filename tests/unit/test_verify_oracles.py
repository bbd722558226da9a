"""Both oracles against what transformers itself returns: states, routers, continuation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deltaport.decoder_interface import tap_names
from deltaport.exporter.export_plan import checked
from deltaport.exporter.model_size import stored_as_float32
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.open_oracle import open_oracle
from deltaport.verify.oracle import Oracle
from tests.checkpoints import build_model, save_checkpoint

KINDS: dict[str, dict[str, Any]] = {
    "moe": {"kind": "moe", "wrapped": True, "seed": 5},
    "dense": {"kind": "dense", "tie": True, "dtype": torch.bfloat16, "seed": 6},
}
TOKENS = [3, 141, 59, 26, 5, 35, 89, 79, 3, 238, 46]
NEW = 4
NOT_ROUNDED = MatrixRounding()


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkpoint folder, and its model in float32 as transformers computes it."""
    arguments = KINDS[request.param]
    folder = save_checkpoint(tmp_path_factory.mktemp("oracle") / "checkpoint", **arguments)
    model = build_model(**{**arguments, "dtype": torch.float32})
    with torch.no_grad():  # the parameters alone: the model's buffers stay as they are computed
        for parameter in model.parameters():
            parameter.copy_(parameter.to(arguments.get("dtype", torch.float32)))
    model.config._attn_implementation = "eager"
    return folder, model


def opened(folder: Path, kind: Any, rounding: MatrixRounding = NOT_ROUNDED) -> Oracle:
    with checked(folder, dtype="auto", accept_fields=()) as checkpoint:
        return open_oracle(kind, checkpoint, rounding)


@pytest.mark.parametrize("kind", ["transformers", "eager"])
@torch.no_grad()
def test_an_oracle_gives_what_the_model_gives(case: Any, kind: str) -> None:
    folder, model = case
    oracle = opened(folder, kind)
    oracle.run([7, 7], new_tokens=1)  # what is left of another prompt must not show
    found = oracle.run(TOKENS, new_tokens=NEW)
    out = model(torch.tensor([TOKENS]), output_hidden_states=True, use_cache=True)

    def agrees(actual: np.ndarray, expected: torch.Tensor, quantity: Quantity) -> bool:
        return relative_error(actual, expected.numpy()) <= tolerance(quantity)

    assert agrees(found.logits, out.logits[0], Quantity.LOGITS)
    embedded, *_, last = tap_names(4)
    assert list(found.taps) == tap_names(4)
    assert agrees(found.taps[embedded], out.hidden_states[0][0], Quantity.OUTPUT)
    for i in range(1, 4):  # the last one transformers gives is normed
        tap = found.taps[f"layers.{i - 1}.output"]
        assert agrees(tap, out.hidden_states[i][0], Quantity.OUTPUT)
    for i, layer in enumerate(_layers(model)):
        mixed = torch.from_numpy(found.taps[f"layers.{i}.mixed"])[None]
        forward = layer.mlp(layer.post_attention_layernorm(mixed))
        forward = forward[0] if isinstance(forward, tuple) else forward
        assert agrees(found.taps[f"layers.{i}.output"], (mixed + forward)[0], Quantity.OUTPUT)
    assert last == "layers.3.output"
    keys = out.past_key_values.layers[3].keys
    assert agrees(found.state["past.3.key"], keys, Quantity.MODEL_STATE)
    assert found.state["past.0.conv"].shape == (1, 3, 128)
    recurrent = out.past_key_values.layers[0].recurrent_states[0]
    assert agrees(found.state["past.0.recurrent"], recurrent, Quantity.MODEL_STATE)

    tokens = list(TOKENS)
    for step in range(NEW):
        logits = model(torch.tensor([tokens])).logits[0, -1]
        assert agrees(found.greedy_logits[step], logits, Quantity.LOGITS)
        tokens.append(int(logits.argmax()))
    assert found.greedy == tokens[len(TOKENS) :]


@pytest.mark.parametrize("kind", ["transformers", "eager"])
@torch.no_grad()
def test_margins_are_those_of_the_routers(case: Any, kind: str) -> None:
    folder, model = case
    found = opened(folder, kind).run(TOKENS, new_tokens=2)
    expected = np.full(len(TOKENS), np.inf)
    for i, layer in enumerate(_layers(model)):
        if hasattr(layer.mlp, "gate"):
            mixed = torch.from_numpy(found.taps[f"layers.{i}.mixed"])
            logits = layer.post_attention_layernorm(mixed) @ layer.mlp.gate.weight.T
            best = logits.topk(3).values
            expected = np.minimum(expected, (best[:, 1] - best[:, 2]).numpy())
    np.testing.assert_allclose(found.margins, expected, atol=1e-5)
    assert np.isinf(expected).all() == ("moe" not in type(model).__name__.lower())


@pytest.mark.parametrize("kind", ["transformers", "eager"])
@torch.no_grad()
def test_rounding_is_that_of_an_export(case: Any, kind: str) -> None:
    folder, model = case
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in model.named_parameters():
        if not stored_as_float32(name, tuple(value.shape)):
            value.copy_(value.half().float())
    logits = model(torch.tensor([TOKENS])).logits[0].numpy()
    model.load_state_dict(before)
    rounded = opened(folder, kind, MatrixRounding("float16")).run(TOKENS, new_tokens=0)
    assert relative_error(rounded.logits, logits) <= tolerance(Quantity.LOGITS)
    assert rounded.greedy == []


def _layers(model: Any) -> Any:
    text = model.model
    return getattr(text, "language_model", text).layers
