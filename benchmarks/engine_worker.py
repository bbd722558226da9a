"""One engine in a process of its own: loaded, run twice, and its figures printed as JSON.

    python -m benchmarks.engine_worker {deltaport,transformers,genai,llama} PATH THREADS ROUND

The figures are of the second run: PROMPT tokens, drawn anew every ROUND, then STEPS single tokens.
The first one warms up. What loading reads is in the page cache by then, modules are imported, and
our engines are opened without checksums. Imports nothing but the engine it is asked for, so each
can run in an environment of its own.
"""

from __future__ import annotations

import importlib
import json
import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[list[int], int], tuple[float, float]]
"""Seconds of a prompt, with logits of its last token alone, and of so many single tokens after."""
PROMPT, STEPS = 512, 48
VOCABULARY = 32_000
"""Tokens are drawn below this."""
WARM_UP_STEPS = 4
PIECE = 1 << 20


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


def llama_model(file: str, threads: int) -> Run:
    import llama_cpp as llama
    import numpy as np

    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)  # what llama.cpp logs goes there
    model = llama.llama_model_load_from_file(file.encode(), llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    settings.n_ctx = PROMPT + STEPS + 1
    settings.n_batch, settings.n_ubatch = 2048, 512
    settings.n_threads = settings.n_threads_batch = threads
    context = llama.llama_init_from_model(model, settings)
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    def step(tokens: list[int]) -> int:
        ids = (llama.llama_token * len(tokens))(*tokens)
        # A batch made this way asks for the logits of its last token.
        if llama.llama_decode(context, llama.llama_batch_get_one(ids, len(tokens))):
            raise RuntimeError("llama_decode failed")
        logits = llama.llama_get_logits_ith(context, -1)
        return int(np.ctypeslib.as_array(logits, (vocabulary,)).argmax())

    def run(prompt: list[int], steps: int) -> tuple[float, float]:
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        start = time.perf_counter()
        token = step(prompt)
        prefilled = time.perf_counter()
        for _ in range(steps):
            token = step([token])
        return prefilled - start, time.perf_counter() - prefilled

    return run


ENGINES = {
    "deltaport": ("deltaport.runtime", deltaport_engine),
    "transformers": ("transformers", transformers_model),
    "genai": ("onnxruntime_genai", genai_model),
    "llama": ("llama_cpp", llama_model),
}


def read_through(path: Path) -> None:
    """Bring the file, or the files of the folder, into the page cache."""
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb") as source:
            while source.read(PIECE):
                pass


def resident(field: str) -> float:
    """MiB of this process: now for ``VmRSS``, at most so far for ``VmHWM``."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(field + ":")[1].split()[0]) / 1024


def main() -> None:
    kind, path, threads, round_number = sys.argv[1:]
    module, load = ENGINES[kind]
    read_through(Path(path))
    importlib.import_module(module)
    start = time.perf_counter()
    run = load(path, int(threads))
    loaded = time.perf_counter() - start
    draw = random.Random(int(round_number))
    prompt = [draw.randrange(VOCABULARY) for _ in range(PROMPT)]
    run(prompt, WARM_UP_STEPS)
    prefill, decode = run(prompt, STEPS)
    figures = {
        "prefill": PROMPT / prefill,
        "decode": STEPS / decode,
        "memory": resident("VmRSS"),
        "peak": resident("VmHWM"),
        "load": loaded,
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
