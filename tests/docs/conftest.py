"""An engine as a user has one: with a tokenizer, a chat template, and a recommendation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deltaport.exporter.export import export_checkpoint
from tests.checkpoints import save_checkpoint
from tests.tokenizers_like_qwen import save_qwen_like_tokenizer


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documented")
    checkpoint = save_checkpoint(
        folder / "checkpoint",
        vocab_size=700,
        num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"],
    )
    save_qwen_like_tokenizer(checkpoint, template="chatml", vocab_size=700)
    recommended = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
    (checkpoint / "generation_config.json").write_text(json.dumps(recommended))
    export_checkpoint(checkpoint, folder / "engine")
    return folder / "engine"
