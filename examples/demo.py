"""From a checkpoint to answers, and how faithful they are. Run from the repository: make demo."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import transformers

from tests.checkpoints import save_checkpoint
from tests.tokenizers_like_qwen import save_qwen_like_tokenizer

FOLDER = Path("demo")
VOCAB_SIZE = 700


def deltaport(*arguments: str, answers: str | None = None) -> None:
    """Run a command as a user would type it; ``answers`` is what that user types then."""
    typed = f"echo {shlex.quote(answers)} | " if answers else ""
    print(f"\n$ {typed}deltaport {shlex.join(arguments)}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "deltaport", *arguments],
        check=True,
        text=True,
        input=f"{answers}\n" if answers else "",
    )


def main() -> int:
    checkpoint, engine = str(FOLDER / "checkpoint"), str(FOLDER / "engine")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    print("Making a small mixture-of-experts checkpoint. Its weights are random, so what it writes")
    print("makes no sense; that two implementations write the same does.", flush=True)
    save_checkpoint(Path(checkpoint), seed=1, per_expert=True, vocab_size=VOCAB_SIZE)
    save_qwen_like_tokenizer(Path(checkpoint), template="reasoning", vocab_size=VOCAB_SIZE)
    deltaport("export", checkpoint, "-o", engine, "--overwrite")
    deltaport("run", engine, "-p", "The quick brown fox", "-n", "24")
    deltaport("chat", engine, "--no-thinking", "-n", "16", answers="Wie geht's?")
    deltaport("verify", engine, "--against", checkpoint)
    deltaport("bench", engine, "--prompt-tokens", "256", "--new-tokens", "32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
