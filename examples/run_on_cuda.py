"""The demo checkpoint on a GPU: how fast it is there, and how near to the CPU in float32.

Run from the repository, with deltaport[export] and onnxruntime-gpu installed:
python -m examples.run_on_cuda
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx.parser
import onnxruntime

from deltaport.exporter.export import StorageDtype, export_checkpoint
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.runtime import Engine, SamplingParams, Session

CHECKPOINT = Path("examples/demo_checkpoint")
DTYPES: tuple[StorageDtype, ...] = ("float32", "float16", "bfloat16")
PROMPT_TOKENS, NEW_TOKENS = 256, 64
NO_CUDA = "onnxruntime finds no GPU it can use; install onnxruntime-gpu on a machine that has CUDA"
NOT_FOUND = 2
CUDA = "CUDAExecutionProvider"
ONE_NODE = '<ir_version: 10, opset_import: ["": 21]> g (float[N] x) => (float[N] y) { y = Exp(x) }'


@dataclass(frozen=True)
class Comparison:
    """An engine beside the portable one with the same weights, which computes in float32.

    ``error`` is the largest difference of a logit over the prompt, relative to the largest logit,
    and ``bound`` what the project promises; an expert chosen otherwise at a near-tie may exceed it
    in half precision. ``same_tokens`` are the greedy tokens before the first that differs.
    """

    dtype: str
    error: float
    bound: float
    same_tokens: int
    new_tokens: int
    prefill_rate: float
    decode_rate: float


def has_cuda() -> bool:
    """Whether onnxruntime runs a graph on a GPU: it may have the provider and lack a driver."""
    if CUDA not in onnxruntime.get_available_providers():
        return False
    onnxruntime.set_default_logger_severity(4)  # it tells at length what it does not find
    graph = onnx.parser.parse_model(ONE_NODE).SerializeToString()
    return CUDA in onnxruntime.InferenceSession(graph, providers=[CUDA]).get_providers()


def compare(
    checkpoint: Path, folder: Path, dtype: StorageDtype, device: Literal["cpu", "cuda"]
) -> Comparison:
    """Export ``checkpoint`` into ``folder`` twice, run both engines and compare them."""
    engines = []
    places: dict[str, Literal["cpu", "cuda"]] = {"portable": "cpu", "ort-cuda": device}
    for target, where in places.items():
        path = folder / f"{target}-{dtype}"
        export_checkpoint(checkpoint, path, target=target, dtype=dtype)
        engines.append(Engine.open(path, device=where))
    reference, engine = engines
    prompt = prompt_of(engine, checkpoint)
    session = engine.session(1, context=PROMPT_TOKENS + NEW_TOKENS)
    run(session, prompt)  # the first run of every shape sets kernels up
    session.clear(0)
    logits, tokens, prefill_seconds, decode_seconds = run(session, prompt)
    wanted, wanted_tokens, *_ = run(reference.session(1, context=session.context), prompt)
    same = next(
        (i for i, (a, b) in enumerate(zip(tokens, wanted_tokens, strict=True)) if a != b),
        len(tokens),
    )
    return Comparison(
        dtype=dtype,
        error=relative_error(logits, wanted),
        bound=tolerance(Quantity.LOGITS, dtype),
        same_tokens=same,
        new_tokens=len(tokens),
        prefill_rate=len(prompt) / prefill_seconds,
        decode_rate=len(tokens) / decode_seconds,
    )


def prompt_of(engine: Engine, checkpoint: Path) -> list[int]:
    """The first tokens of text the model was not trained on."""
    assert engine.tokenizer is not None, "the demo checkpoint has a tokenizer"
    text = (checkpoint / "held_out.txt").read_text(encoding="utf-8")
    return engine.tokenizer.encode(text[: 16 * PROMPT_TOKENS])[:PROMPT_TOKENS]


def run(session: Session, prompt: Sequence[int]) -> tuple[np.ndarray, list[int], float, float]:
    """Logits [T,V] over the prompt and greedy tokens after it, and the seconds either took."""
    start = time.perf_counter()
    (logits,) = session.prefill([list(prompt)], logits="all")
    middle = time.perf_counter()
    params = SamplingParams(max_new_tokens=NEW_TOKENS, ignore_eos=True)
    (completion,) = session.generate([[]], params)
    assert logits is not None, "the prompt has tokens"
    return logits, completion.tokens, middle - start, time.perf_counter() - middle


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per dtype; 2 where there is no GPU to run on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    options = parser.parse_args(arguments)
    if not has_cuda():
        print(NO_CUDA, file=sys.stderr)
        return NOT_FOUND
    print(
        f"{'dtype':9} {'logit error':>11} {'bound':>8} {'greedy':>9} {'prefill':>12} {'decode':>12}"
    )
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory() as folder:
            found = compare(options.checkpoint, Path(folder), dtype, "cuda")
        greedy = f"{found.same_tokens} of {found.new_tokens}"
        print(
            f"{dtype:9} {found.error:11.2e} {found.bound:8.1e} {greedy:>9} "
            f"{found.prefill_rate:8.0f} t/s {found.decode_rate:8.0f} t/s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
