"""One engine in a process of its own, timed on request.

    python -m benchmarks.engine_worker {deltaport,transformers,genai} FOLDER THREADS PROMPT STEPS

For every line on standard input, runs a prompt of PROMPT tokens and STEPS single tokens after it,
and answers with a line of JSON: seconds of each. Ends with standard input. Imports nothing but the
engine it is asked for, so each can run in an environment of its own.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

Run = Callable[[list[int], int], tuple[float, float]]
VOCABULARY = 32_000
"""Tokens are drawn below this."""


def deltaport_engine(folder: str, threads: int) -> Run:
    from deltaport.runtime import Engine

    engine = Engine.open(folder, threads=threads, checksums=False)

    def run(prompt: list[int], steps: int) -> tuple[float, float]:
        session = engine.session()
        start = time.perf_counter()
        (logits,) = session.prefill([prompt])
        prefilled = time.perf_counter()
        for _ in range(steps):
            assert logits is not None
            (logits,) = session.decode([int(logits.argmax())])
        return prefilled - start, time.perf_counter() - prefilled

    return run


def transformers_model(folder: str, threads: int) -> Run:
    import torch
    from transformers import AutoModelForImageTextToText

    torch.set_num_threads(threads)
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()

    @torch.inference_mode()
    def run(prompt: list[int], steps: int) -> tuple[float, float]:
        def step(tokens: list[int], cache: Any) -> Any:
            ids = torch.tensor([tokens])
            return model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)

        start = time.perf_counter()
        out = step(prompt, None)
        prefilled = time.perf_counter()
        for _ in range(steps):
            out = step([int(out.logits[0, -1].argmax())], out.past_key_values)
        return prefilled - start, time.perf_counter() - prefilled

    return run


def genai_model(folder: str, threads: int) -> Run:
    import onnxruntime_genai as genai

    config = genai.Config(folder)
    options = {"session_options": {"intra_op_num_threads": threads}}
    config.overlay(json.dumps({"model": {"decoder": options}}))
    model = genai.Model(config)

    def run(prompt: list[int], steps: int) -> tuple[float, float]:
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=len(prompt) + steps + 1, do_sample=False)
        generator = genai.Generator(model, params)
        start = time.perf_counter()
        generator.append_tokens(prompt)
        prefilled = time.perf_counter()
        generator.generate_next_token()  # the prompt's logits are there: this one runs no model
        begun = time.perf_counter()
        for _ in range(steps):
            generator.generate_next_token()
        return prefilled - start, time.perf_counter() - begun

    return run


ENGINES = {
    "deltaport": deltaport_engine,
    "transformers": transformers_model,
    "genai": genai_model,
}


def main() -> None:
    kind, folder, threads, length, steps = sys.argv[1:]
    run = ENGINES[kind](folder, int(threads))
    draw = random.Random(0)
    for _ in sys.stdin:
        prompt = [draw.randrange(VOCABULARY) for _ in range(int(length))]
        prefill, decode = run(prompt, int(steps))
        print(json.dumps({"prefill": prefill, "decode": decode}), flush=True)


if __name__ == "__main__":
    main()
