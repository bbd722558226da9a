"""From a checkpoint to answers, and how faithful they are. Run from the repository: make demo."""

from __future__ import annotations

import shlex
import subprocess
import sys

CHECKPOINT, ENGINE = "examples/demo_checkpoint", "demo/engine"


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
    print("The checkpoint is a small mixture of experts that was trained on Python sources.")
    deltaport("export", CHECKPOINT, "-o", ENGINE, "--overwrite")
    deltaport("run", ENGINE, "-p", "def read_lines(path):\n", "-n", "96", "--seed", "1")
    deltaport("chat", ENGINE, "-n", "48", "--seed", "2", answers="Tests of the queue.")
    deltaport("eval", ENGINE, "--text", f"{CHECKPOINT}/held_out.txt", "--bytes", "20000")
    deltaport("verify", ENGINE, "--against", CHECKPOINT)
    deltaport("bench", ENGINE, "--prompt-tokens", "256", "--new-tokens", "32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
