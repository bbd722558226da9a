"""A quantized engine against transformers with the same weights and rounded activations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from deltaport.exporter.export import export_checkpoint
from deltaport.graph_passes.quantize.quantization_recipe import quantization_recipe
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.runtime import Engine
from deltaport.weight_format import WeightFormat
from tests.checkpoints import save_checkpoint
from tests.oracles import Array
from tests.oracles.quantized_weights import rounded_token, unpacked

PROMPT = [3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95, 0, 288]
# Where an activation lies between two codes, rounding in float32 may choose the other one: rare,
# some times in ten thousand, but what follows in the sequence is then off by about as much as
# a code is of the whole. Before that an engine is as close as one in float32.
WITH_OTHER_CODES = 2e-2


def as_stored(weight: torch.Tensor, stored: WeightFormat) -> torch.Tensor:
    """A weight as quantizing leaves it, unpacked by the oracle."""
    rows, inputs = weight.shape
    matrix = unpacked(*quantize_rows(weight.float().numpy(), stored))[:rows, :inputs]
    return torch.tensor(matrix, dtype=torch.float32)


def rounded(stored: WeightFormat) -> Callable[[Any, tuple[torch.Tensor]], tuple[torch.Tensor]]:
    """What a product's input is rounded to, as a hook."""

    def hook(_: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        x = inputs[0]
        flat = x.reshape(-1, x.shape[-1]).numpy()
        width = -(-flat.shape[1] // stored.block) * stored.block
        values = np.stack([rounded_token(row, width)[: flat.shape[1]] for row in flat])
        return (torch.tensor(values, dtype=torch.float32).reshape(x.shape),)

    return hook


@torch.no_grad()
def expected_logits(checkpoint: Path, recipe: str) -> Array:
    """Logits of the prompt by transformers."""
    chosen = quantization_recipe(recipe)
    config = transformers.AutoConfig.from_pretrained(checkpoint)
    model = getattr(transformers, config.architectures[0]).from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    )
    tied_head = model.get_output_embeddings() if config.tie_word_embeddings else None
    for name, module in model.eval().named_modules():
        # A tied head is the embedding, by name too, and reads rounded activations all the same.
        parameter = "model.embed_tokens.weight" if module is tied_head else f"{name}.weight"
        stored = chosen.format_of(parameter)
        if stored is None:
            continue
        if module is tied_head:
            module.weight.data = model.get_input_embeddings().weight.data
        else:
            module.weight.data = as_stored(module.weight, stored)
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(rounded(stored))
    logits: Array = model(torch.tensor([PROMPT])).logits[0].numpy()
    return logits


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """By whether the head is tied."""
    return {
        tied: save_checkpoint(
            tmp_path_factory.mktemp("checkpoint"), seed=7, kind="dense", tie=tied,
            dtype=torch.bfloat16 if tied else torch.float32,
        )
        for tied in (False, True)
    }  # fmt: skip


@pytest.mark.parametrize("target", ["portable", "ort-cpu"])
@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied head"])
@pytest.mark.parametrize("recipe", ["int8", "int4", "int4-all"])
def test_logits(
    recipe: str, tied: bool, target: str, checkpoints: dict[bool, Path], tmp_path: Path
) -> None:
    checkpoint = checkpoints[tied]
    export_checkpoint(checkpoint, tmp_path / "engine", target=target, quantize=recipe)
    with Engine.open(tmp_path / "engine").session() as session:
        (found,) = session.prefill([PROMPT], logits="all")
    expected = expected_logits(checkpoint, recipe)
    errors = [relative_error(row, wanted) for row, wanted in zip(found, expected, strict=True)]
    assert min(errors) <= tolerance(Quantity.LOGITS), errors
    assert max(errors) <= WITH_OTHER_CODES, errors


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_a_mixture_by_kernels_and_by_bodies(recipe: str, tmp_path: Path) -> None:
    """The bodies are held to the float64 oracle op by op; here they judge the kernels."""
    checkpoint = save_checkpoint(tmp_path / "checkpoint", seed=8, kind="moe")
    logits = {}
    for target in ("portable", "ort-cpu"):
        export_checkpoint(checkpoint, tmp_path / target, target=target, quantize=recipe)
        with Engine.open(tmp_path / target).session() as session:
            (logits[target],) = session.prefill([PROMPT], logits="all")
    pairs = zip(logits["ort-cpu"], logits["portable"], strict=True)
    errors = [relative_error(found, expected) for found, expected in pairs]
    assert min(errors) <= tolerance(Quantity.LOGITS), errors
    assert max(errors) <= WITH_OTHER_CODES, errors
