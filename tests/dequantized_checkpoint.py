"""Checkpoints whose weights are what quantizing leaves of another's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from deltaport.graph_passes.quantize.quantization_recipe import quantization_recipe
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.weight_format import FP8, WeightFormat
from tests.oracles.fp8_weights import fp8_rounded
from tests.oracles.quantized_weights import unpacked

__all__ = ["dequantized"]

TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def dequantized(checkpoint: Path, folder: Path, recipe: str) -> Path:
    """The checkpoint with the weights that quantizing leaves, and a head of its own.

    The embedding stays as it is, as it does for targets that dequantize.
    """
    chosen = quantization_recipe(recipe)
    shutil.copytree(checkpoint, folder)
    tensors = load_file(checkpoint / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    if config["tie_word_embeddings"]:
        assert HEAD not in tensors
        config["tie_word_embeddings"] = False
        (folder / "config.json").write_text(json.dumps(config))
        tensors[HEAD] = tensors[TABLE].clone()
    changed = 0
    for name, weight in tensors.items():
        stored = chosen.format_of(name) if name != TABLE else None
        if stored is not None:
            tensors[name] = _as_stored(weight, stored)
            changed += 1
    assert changed > len(tensors) // 3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _as_stored(weight: torch.Tensor, stored: WeightFormat) -> torch.Tensor:
    """A weight as quantizing leaves it, unpacked by the oracle."""
    rows, inputs = weight.shape[-2:]
    matrices = weight.float().reshape(-1, rows, inputs).numpy()
    if stored == FP8:
        rounded = torch.tensor(np.stack([*map(fp8_rounded, matrices)]))
        return rounded.float().reshape(weight.shape)
    parts = [unpacked(*quantize_rows(matrix, stored))[:rows, :inputs] for matrix in matrices]
    return torch.stack([torch.tensor(part) for part in parts]).float().reshape(weight.shape)
