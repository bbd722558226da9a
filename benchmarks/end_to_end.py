"""A whole mixture of experts of a billion parameters, against transformers and onnxruntime-genai.

The checkpoint has random weights. It, our engines and the peer's model are made in --work on the
first run, 14 GB in all, and used again. Every engine runs in a process of its own; they take turns.
onnxruntime-genai 0.18 is a matter of this benchmark alone: give the interpreter of an environment
that has it, torch, onnx and transformers as --genai-python, or it is left out, and said so.

    python -m benchmarks.end_to_end --work /tmp/mixture --genai-python /opt/genai/bin/python

Figures are tokens a second, medians of the rounds: more is better. ``peer`` is a peer in fp32, or
for storage in bf16 our own fp32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.head_sizes import HEADS
from benchmarks.report import Row, print_table, write_json
from deltaport.exporter.export import export_checkpoint
from tests.checkpoints import save_checkpoint, save_tokenizer

ROOT = Path(__file__).resolve().parents[1]
PROMPT, STEPS = 512, 48
SHAPE: dict[str, Any] = {
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


class Worker:
    """An engine in another process."""

    def __init__(self, python: str, kind: str, folder: Path, threads: int) -> None:
        command = [python, "-m", "benchmarks.engine_worker", kind, str(folder), str(threads)]
        self._process = subprocess.Popen(
            [*command, str(PROMPT), str(STEPS)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self) -> tuple[float, float]:
        """Tokens a second: of a prompt, and one by one after it."""
        line = self._ask()
        if not line:
            raise SystemExit(f"{self._process.args}: ended with {self._process.wait()}")
        seconds = json.loads(line)
        return PROMPT / seconds["prefill"], STEPS / seconds["decode"]

    def _ask(self) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("\n")
        stdin.flush()
        return stdout.readline()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def prepare(work: Path, genai_python: str | None) -> dict[str, tuple[str, str, Path]]:
    """What is measured: interpreter, kind and folder by name; made where it is not there."""
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / "checkpoint"
    if not (checkpoint / "tokenizer.json").exists():
        save_checkpoint(checkpoint, wrapped=True, **SHAPE)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
        (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
        save_tokenizer(checkpoint)
    engines = {"transformers": (sys.executable, "transformers", checkpoint)}
    for dtype in ("float32", "bfloat16"):
        folder = work / dtype
        if not folder.exists():
            export_checkpoint(checkpoint, folder, target="ort-cpu", dtype=dtype)
        engines[dtype] = (sys.executable, "deltaport", folder)
    if genai_python is not None:
        folder = work / "genai"
        if not (folder / "genai_config.json").exists():
            build = "onnxruntime_genai.models.builder -i {} -o {} -p fp32 -e cpu"
            command = [genai_python, "-m", *build.format(checkpoint, folder).split()]
            subprocess.run([*command, "--extra_options", "prune_lm_head=true"], check=True)
        engines["genai"] = (genai_python, "genai", folder)
    return engines


def measure(engines: dict[str, tuple[str, str, Path]], threads: int, rounds: int) -> list[Row]:
    """Rows of prefill and decode."""
    workers = {name: Worker(*engine, threads) for name, engine in engines.items()}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for worker in workers.values():
        worker()  # warms up
    for i in range(rounds):
        for name, worker in workers.items():
            rates[name].append(worker())
        print(f"round {i + 1} of {rounds} done", flush=True)
    for worker in workers.values():
        worker.close()
    rows = []
    for i, phase in enumerate(("prefill", "decode")):
        median = {name: statistics.median(r[i] for r in each) for name, each in rates.items()}
        peers = {name: rate for name, rate in median.items() if name in ("transformers", "genai")}
        for name, rate in peers.items():
            ours = median["float32"]
            rows.append(Row(f"{phase} float32 against {name}", ours, rate, ours / rate))
        stored, wide = median["bfloat16"], median["float32"]
        rows.append(Row(f"{phase} bfloat16 against float32", stored, wide, stored / wide))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for 14 GB of models")
    parser.add_argument("--genai-python", help="interpreter that has onnxruntime-genai")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    if arguments.genai_python is None:
        print("without onnxruntime-genai: --genai-python names an interpreter that has it")
    rows = measure(
        prepare(arguments.work, arguments.genai_python), arguments.threads, arguments.rounds
    )
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    main()
