"""``deltaport eval`` on a real, if small, engine, against transformers."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from tests.checkpoints import CORPUS, save_checkpoint
from tests.end_to_end.command import deltaport, error_line, on_terminal

TEXT = " ".join(CORPUS)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def transformers_nats(checkpoint: Path, ids: list[int]) -> float:
    """What transformers makes of the same tokens: the mean of -log p."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(
        checkpoint, dtype=torch.float32
    )
    batch = torch.tensor([ids])
    with torch.no_grad():
        return float(model(batch, labels=batch).loss)


def test_perplexity_is_that_of_transformers(engine: Path, checkpoint: Path, text: Path) -> None:
    result = deltaport("eval", engine, "--text", text, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    ids = Tokenizer.from_file(str(checkpoint / "tokenizer.json")).encode(TEXT).ids
    assert found["text"] == {"bytes": len(TEXT.encode()), "tokens": len(ids)}
    assert found["contexts"] == 1
    nats = transformers_nats(checkpoint, ids)
    assert found["score"]["nats_per_token"]["mean"] == pytest.approx(nats, rel=1e-5)
    assert found["versions"]["onnxruntime"]
    stages = [line.partition(" (")[0] for line in result.stderr.splitlines()]
    assert stages == ["loading the engine", "reading the text"]


def test_tables(engine: Path, text: Path) -> None:
    options = ["--bytes", "100", "--context", "7", "-q", "--against", engine]
    result = deltaport("eval", engine, "--text", text, *options)
    assert (result.returncode, result.stderr) == (0, "")
    estimate = r"[\d,.]+ ± [\d.,]+"
    for expected in (
        r"^\S.*small engine against \S.*small engine\n",
        r"  text +\S+words.txt, 100 bytes, \d+ tokens\n",
        r"  contexts +\d+ of at most 7 tokens\n",
        r"^prediction\n +engine +reference\n",
        rf"  perplexity +{estimate} +{estimate}\n",
        r"  bits per byte +(\d+\.\d{4}) +\1\n",
        r"^difference\n",
        r"  perplexity, ratio +1\.0000\n",
        r"  same token most likely +100\.00 %\n",
        r"  KL divergence, nats +0\.0000\n",
        r"  KL divergence, largest +0\n",
    ):
        assert re.search(expected, result.stdout, re.MULTILINE), (expected, result.stdout)


def test_from_a_pipe(engine: Path) -> None:
    result = deltaport("eval", engine, "--text", "-", "-q", input="The quick brown fox")
    assert "  text      standard input, 19 bytes, " in result.stdout


def test_on_a_terminal_it_shows_how_far_it_is(engine: Path, text: Path) -> None:
    shown = on_terminal("eval", engine, "--text", text)
    assert "reading the text" in shown
    total = len(Tokenizer.from_file(str(engine / "tokenizer.json")).encode(TEXT).ids) - 1
    assert f"0/{total}" in shown


def test_what_cannot_be_evaluated(engine: Path, text: Path, tmp_path: Path) -> None:
    assert "missing.txt" in error_line(deltaport("eval", engine, "--text", "missing.txt"))
    assert "Is a directory" in error_line(deltaport("eval", engine, "--text", tmp_path))
    (tmp_path / "latin.txt").write_bytes("Zürich".encode("latin-1"))
    line = error_line(deltaport("eval", engine, "--text", tmp_path / "latin.txt"))
    assert "latin.txt: not UTF-8 at byte 1" in line
    line = error_line(deltaport("eval", engine, "--text", text, "--context", "999999", "-q"))
    assert "--context 999999" in line
    line = error_line(deltaport("eval", engine, "--text", text, "--against", tmp_path, "-q"))
    assert "manifest.json" in line


def test_the_second_engine_is_the_reference(engine: Path, text: Path, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", seed=99, kind="moe", wrapped=True, tokenizer=True)
    assert deltaport("export", other, "-o", tmp_path / "engine").returncode == 0
    options = ("--text", text, "--json", "-q")
    alone = [
        json.loads(deltaport("eval", one, *options).stdout)["score"]
        for one in (engine, tmp_path / "engine")
    ]
    compared = json.loads(
        deltaport("eval", engine, "--against", tmp_path / "engine", *options).stdout
    )
    assert [compared["score"], compared["reference"]] == alone
    means = [score["nats_per_token"]["mean"] for score in alone]
    ratio = compared["comparison"]["perplexity_ratio"]["mean"]
    assert math.log(ratio) == pytest.approx(means[0] - means[1], rel=1e-6)


def test_figures_are_whole_on_a_narrow_terminal(engine: Path, text: Path, tmp_path: Path) -> None:
    far = tmp_path / ("far" * 20) / ("away" * 20)
    shutil.copytree(engine, far)
    shown = on_terminal(
        "eval", far, "--text", text, "--against", far, environment={"COLUMNS": "80"}
    )
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"perplexity +[\d,]+ ± [\d,]+ +[\d,]+ ± [\d,]+", plain)
    assert re.search(r"bits per byte +\d+\.\d{4} +\d+\.\d{4}", plain)
