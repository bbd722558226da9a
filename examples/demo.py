"""From a checkpoint to tokens, and how faithful they are. Run from the repository: make demo."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import torch
import transformers

from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.runtime import Engine
from tests.checkpoints import CORPUS, save_checkpoint

FOLDER = Path("demo")
NEW_TOKENS = 32


def deltaport(*arguments: str) -> None:
    """Run a command as a user would type it."""
    print(f"\n$ deltaport {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "deltaport", *arguments], check=True)


def parity(checkpoint: Path, engine: Path) -> bool:
    """Compare the engine with transformers in fp32 on the tokenizer's own training text."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(engine / "tokenizer.json"))
    prompt = tokenizer(" ".join(CORPUS)).input_ids

    session = Engine.open(engine).session()
    (logits,) = session.prefill([prompt], logits="all")
    (tokens,) = session.generate(max_new_tokens=NEW_TOKENS, eos_token_ids=())
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0].numpy()
        continued = model.generate(
            torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None
        )[0, len(prompt) :].tolist()
    assert logits is not None
    error, bound = relative_error(logits, expected), tolerance(Quantity.LOGITS)
    matched = next(
        (i for i, (a, b) in enumerate(zip(tokens, continued, strict=True)) if a != b), NEW_TOKENS
    )
    print("\nParity with transformers fp32")
    print(f"  largest logit error  {error:.1e} of the largest logit (allowed: {bound:.0e})")
    print(f"  greedy tokens equal  {matched} of {NEW_TOKENS}")
    return error <= bound and matched == NEW_TOKENS


def main() -> int:
    checkpoint, engine = FOLDER / "checkpoint", FOLDER / "engine"
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    print("Making a small mixture-of-experts checkpoint. Its weights are random, so what it writes")
    print("makes no sense; that two implementations write the same does.", flush=True)
    save_checkpoint(checkpoint, seed=1, per_expert=True, tokenizer=True)
    deltaport("export", str(checkpoint), "-o", str(engine), "--overwrite")
    deltaport("run", str(engine), "-p", "The quick brown fox", "-n", str(NEW_TOKENS))
    return 0 if parity(checkpoint, engine) else 1


if __name__ == "__main__":
    sys.exit(main())
