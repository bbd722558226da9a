"""The well-formed folders that fuzzing damages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deltaport.exporter.model_spec import ModelSpec
from tests.checkpoints import save_checkpoint
from tests.runtime.toy_engine import EOS, VOCAB, write_toy
from tests.tokenizers_like_qwen import save_qwen_like_tokenizer

__all__ = ["write_originals"]

_TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "layer_types": ["linear_attention", "full_attention"],
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 1024,
    "partial_rotary_factor": 0.25,
    "mrope_section": [2, 1, 1],
    "mrope_interleaved": True,
}


def write_originals(folder: Path) -> Path:
    """Write two checkpoints, an engine that runs, and the files of a chat model.

    One checkpoint is a single file, the other is in shards and has an expert a tensor.
    """
    fused, sharded = folder / "fused", folder / "sharded"
    save_checkpoint(fused, wrapped=True, tokenizer=True, rope_parameters=_YARN, **_TINY)
    generation = {"eos_token_id": [1, 2], "do_sample": True, "temperature": 0.6, "top_p": 0.95}
    (fused / "generation_config.json").write_text(json.dumps(generation | {"top_k": 20}))
    save_checkpoint(sharded, per_expert=True, max_shard_size="40KB", **_TINY)

    engine = folder / "engine"
    config = json.loads((sharded / "config.json").read_text()) | {"eos_token_id": EOS}
    model = ModelSpec.from_config(config | {"vocab_size": VOCAB}, source="test").to_json()
    write_toy(engine, model=model, not_exported={"vision": 3})
    save_qwen_like_tokenizer(engine, vocab_size=400)
    save_qwen_like_tokenizer(folder / "chat", template="reasoning")
    return folder
