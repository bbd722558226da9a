"""The checkpoint that ships with the project is what its documentation says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer

from examples.train_demo.config import NUM_EXPERTS, VOCAB_SIZE
from examples.train_demo.held_out import Judgement
from examples.train_demo.judge_checkpoint import held_out_ids, judge_folder, xz_bits_per_byte
from examples.train_demo.training import LONG_ROWS
from tests.end_to_end.command import deltaport

FOLDER = Path(__file__).parents[2] / "examples" / "demo_checkpoint"
TEXT = FOLDER / "held_out.txt"
CONTEXT = LONG_ROWS[1]


@pytest.fixture(scope="module")
def demo_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "engine"
    result = deltaport("export", FOLDER, "-o", folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def evaluated(demo_engine: Path) -> dict[str, Any]:
    """The whole held-out text through the engine."""
    options = ["--text", TEXT, "--context", str(CONTEXT), "--json"]
    result = deltaport("eval", demo_engine, *options)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def judged() -> Judgement:
    return judge_folder(FOLDER)


def test_it_is_small_and_whole() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    checkpoint = {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
        *("tokenizer_config.json", "chat_template.jinja"),
    }
    assert checkpoint <= set(files)
    assert sum(files[name] for name in checkpoint) <= 16e6
    assert 190e3 < files["held_out.txt"] <= 200e3
    assert 190e3 < files["calibration.txt"] <= 200e3
    with safe_open(FOLDER / "model.safetensors", "pt") as file:
        names = set(file.keys())
        assert {file.get_slice(name).get_dtype() for name in names} == {"BF16"}
        parameters = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    assert 5e6 < parameters < 8e6
    head = {
        *("mtp.fc.weight", "mtp.norm.weight", "mtp.layers.0.self_attn.q_proj.weight"),
        *("mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight"),
    }
    assert head <= names


def test_the_engine_beats_xz(evaluated: dict[str, Any]) -> None:
    assert evaluated["score"]["bits_per_byte"] < 0.9 * xz_bits_per_byte(TEXT.read_bytes())


def test_training_measured_what_the_engine_gives(
    evaluated: dict[str, Any], judged: Judgement
) -> None:
    """But for the first token, which only one of them counts."""
    bits = (judged.bits + math.log2(VOCAB_SIZE)) / TEXT.stat().st_size
    assert evaluated["score"]["bits_per_byte"] == pytest.approx(bits, rel=1e-4)


def test_transformers_gives_the_same_perplexity(demo_engine: Path) -> None:
    contexts = 6
    ids = held_out_ids(FOLDER)[: contexts * CONTEXT + 1].astype(np.int64)
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    rows = torch.from_numpy(ids[:-1]).view(contexts, CONTEXT)
    targets = torch.from_numpy(ids[1:]).view(contexts, CONTEXT)
    with torch.no_grad():
        nats = [
            torch.nn.functional.cross_entropy(model(row[None]).logits[0], target).item()
            for row, target in zip(rows, targets, strict=True)
        ]
    text = TEXT.read_bytes().decode()
    offsets = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(text).offsets
    size = len(text[: offsets[len(ids) - 1][1]].encode())
    options = ["--text", TEXT, "--bytes", str(size), "--context", str(CONTEXT), "--json"]
    found = json.loads(deltaport("eval", demo_engine, *options).stdout)
    assert found["text"]["tokens"] == len(ids)
    perplexity = found["score"]["perplexity"]["mean"]
    assert perplexity == pytest.approx(math.exp(np.mean(nats)), rel=1e-4)


def test_drafts_of_the_prediction_head(judged: Judgement) -> None:
    assert judged.drafts_taken >= 0.5


def test_every_expert_lives(judged: Judgement) -> None:
    assert judged.loads.shape == (9, NUM_EXPERTS)
    assert float(judged.loads.min()) >= 0.1
    assert float(judged.loads.max()) <= 4


def test_what_was_held_out_was_not_learnt_from() -> None:
    record = json.loads((FOLDER / "corpus.json").read_text())
    packages = {path.split("/")[0] for path in record["held_out"]}
    assert packages
    assert packages.isdisjoint(path.split("/")[0] for path in record["training"])
    assert not set(record["held_out"].values()) & set(record["training"].values())
