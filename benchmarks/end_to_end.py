"""Whole models of a billion parameters, against transformers, onnxruntime-genai and llama.cpp.

A mixture of experts and a dense model with a large tied head, in fp32, bf16 and 4 bits; the
checkpoints have random weights. They, our engines and the peers' models are made in --work on the
first run, up to 25 GB in all, and used again. Every engine runs in processes of its own, a new one
each round, and they take turns. onnxruntime-genai 0.18 and llama-cpp-python 0.3.36 are a matter of
this benchmark alone: give the interpreter of an environment that has them, torch, onnx,
safetensors and transformers as --peer-python; one that is not there is left out, and said so.

    python -m benchmarks.end_to_end --work /tmp/models --peer-python /opt/peers/bin/python

Figures are medians of the rounds: tokens a second of a prompt of 512 and of 48 tokens after it,
resident MiB after that, seconds to load. ``peer`` is the best of the peers in that figure, and our
own fp32 is one of them for storage in bf16.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.end_to_end_chart import draw
from benchmarks.head_sizes import HEADS
from benchmarks.peer_models import genai_model, installed, llama_model
from benchmarks.report import Row, print_table, write_json
from benchmarks.runtime import SHAPE as DENSE
from deltaport.exporter.export import export_checkpoint
from tests.checkpoints import save_checkpoint, save_tokenizer

ROOT = Path(__file__).resolve().parents[1]
MIXTURE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 12,
    "vocab_size": 32_768,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 256,
    "linear_num_key_heads": 8,
    **HEADS,
}
MODELS = {"moe": MIXTURE, "dense": {"dtype": torch.bfloat16, **DENSE}}
STORAGES = ("fp32", "bf16", "int4")
MORE_IS_BETTER = {"prefill": True, "decode": True, "memory": False, "load": False}
"""The figures of a row, and which way they are read."""
FIGURES = {"prefill": "tokens/s", "decode": "tokens/s", "memory": "MiB", "peak": "MiB", "load": "s"}


@dataclass(frozen=True)
class Contender:
    """An engine that takes part."""

    name: str
    kind: str
    path: Path
    python: str = sys.executable
    peer: bool = True

    def turn(self, threads: int, round_number: int) -> dict[str, float]:
        """Its figures of one round, from a process of its own."""
        worker = [self.python, "-m", "benchmarks.engine_worker", self.kind, str(self.path)]
        done = subprocess.run(
            [*worker, str(threads), str(round_number)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: ended with {done.returncode}")
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures


@dataclass(frozen=True)
class Peers:
    """The interpreter of the peers, where they are there."""

    genai: str | None
    llama: str | None

    @classmethod
    def found(cls, python: str | None) -> Peers:
        """Those the interpreter has; says which are left out."""
        has = [installed(python, each) for each in ("onnxruntime-genai", "llama-cpp-python")]
        for name, version in zip(("onnxruntime-genai", "llama.cpp"), has, strict=True):
            if version is None:
                print(f"without {name}: --peer-python names an interpreter that has it")
        return cls(*(python if version else None for version in has))


def checkpoint_of(model: str, folder: Path) -> Path:
    """The checkpoint, with a tokenizer, which peers want to see; made where it is not there."""
    if not (folder / "config.json").exists():
        save_checkpoint(folder, wrapped=True, **MODELS[model])
    if not (folder / "tokenizer.json").exists():
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        save_tokenizer(folder)
    return folder


def ours(name: str, folder: Path, peer: bool = False, **options: Any) -> Contender:
    """Our engine of the checkpoint beside ``folder``; made where it is not there."""
    if not folder.exists():
        export_checkpoint(folder.with_name("checkpoint"), folder, target="ort-cpu", **options)
    return Contender(name, "deltaport", folder, peer=peer)


def contenders(model: str, storage: str, work: Path, peers: Peers) -> Iterator[Contender]:
    """Everything that is compared; made where it is not there."""
    folder = work / model
    checkpoint = checkpoint_of(model, folder / "checkpoint")
    formats: tuple[str, ...] = ()
    if storage == "fp32":
        yield ours("fp32", folder / "float32", dtype="float32")
        yield Contender("transformers fp32", "transformers", checkpoint)
    elif storage == "bf16":
        yield ours("bf16", folder / "bfloat16", dtype="bfloat16")
        yield ours("our fp32", folder / "float32", peer=True, dtype="float32")
        formats = ("bf16",)
    else:
        for recipe in ("int4-all", "int4"):
            yield ours(recipe, folder / recipe, quantize=recipe)
        formats = ("Q4_0", "Q4_K_M")
    if peers.genai and storage != "bf16":
        path = genai_model(peers.genai, checkpoint, folder / f"genai-{storage}", storage)
        yield Contender(f"genai {storage}", "genai", path, peers.genai)
    if peers.llama:
        for each in formats:
            file = llama_model(peers.llama, checkpoint, folder / f"{each}.gguf", work)
            yield Contender(f"llama.cpp {each}", "llama", file, peers.llama)


def measure(
    engines: list[Contender], threads: int, rounds: int
) -> dict[Contender, dict[str, float]]:
    """Medians by engine and figure."""
    found: dict[Contender, list[dict[str, float]]] = {each: [] for each in engines}
    for i in range(rounds):
        for engine, figures in found.items():
            figures.append(engine.turn(threads, i))
        print(f"round {i + 1} of {rounds} done", flush=True)
    return {
        engine: {name: statistics.median(each[name] for each in figures) for name in FIGURES}
        for engine, figures in found.items()
    }


def compare(model: str, medians: dict[Contender, dict[str, float]]) -> Iterator[Row]:
    """Rows of our engines against the best of the peers in each figure."""
    theirs = [figures for engine, figures in medians.items() if engine.peer]
    for engine, figures in medians.items():
        for name, more in {} if engine.peer else MORE_IS_BETTER.items():
            case, own = f"{model} {engine.name} {name}", figures[name]
            if not theirs:
                yield Row(case, own)
                continue
            best = (max if more else min)(each[name] for each in theirs)
            yield Row(case, own, best, own / best if more else best / own)


def print_figures(model: str, medians: dict[Contender, dict[str, float]]) -> None:
    """Print the figures of every engine, peers too, in columns."""
    heads = [f"{name}, {unit}" for name, unit in FIGURES.items()]
    print(f"{model:20} " + " ".join(f"{head:>17}" for head in heads))
    for engine, figures in medians.items():
        print(f"{engine.name:20} " + " ".join(f"{figures[name]:>17.4g}" for name in FIGURES))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for 25 GB of models")
    parser.add_argument("--peer-python", help="interpreter that has the peers")
    parser.add_argument("--model", choices=(*MODELS, "all"), default="all")
    parser.add_argument("--storage", choices=(*STORAGES, "all"), default="all")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--chart", type=Path, help="draw the figures of every engine in this file")
    given = parser.parse_args()
    peers = Peers.found(given.peer_python)
    rows: list[Row] = []
    charted: dict[str, dict[str, dict[str, float]]] = {}
    own: set[str] = set()
    for model in MODELS if given.model == "all" else [given.model]:
        for storage in STORAGES if given.storage == "all" else [given.storage]:
            engines = list(contenders(model, storage, given.work.resolve(), peers))
            medians = measure(engines, given.threads, given.rounds)
            print_figures(model, medians)
            rows += compare(model, medians)
            by_name = {engine.name: figures for engine, figures in medians.items()}
            charted.setdefault(model, {}).update(by_name)
            own |= {engine.name for engine in medians if not engine.peer}
    print_table(rows)
    if given.json:
        write_json(rows, given.json)
    if given.chart:
        draw(charted, own, given.chart)


if __name__ == "__main__":
    main()
