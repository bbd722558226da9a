"""How much sooner a request is answered whose first tokens another one had.

The engine is that of ``benchmarks.runtime``. A system prompt was read once, by a session that is
closed by now; a request is this prompt and a question behind it, in a session of its own. ``ours``
is the time to its first token, in milliseconds, where sessions share a prefix cache, ``peer`` where
they do not. Both take turns, with another question each time.

    python -m benchmarks.prefix_reuse --work /tmp/dense
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Row, print_table, write_json
from benchmarks.runtime import prepare
from deltaport.runtime import Engine, PrefixCache, SamplingParams

QUESTION = 16
GREEDY = SamplingParams(max_new_tokens=1, ignore_eos=True, detokenize=False)


def first_token(engine: Engine, prompt: list[int], prefixes: PrefixCache | None) -> float:
    """Seconds from a request to its first token, opening a session included."""
    start = time.perf_counter()
    with engine.session(prefixes=prefixes) as session:
        next(session.stream([prompt], GREEDY))
        return time.perf_counter() - start


def measure(engine: Engine, prefix: int, rounds: int) -> Row:
    """The row for a system prompt of ``prefix`` tokens."""
    rng = np.random.default_rng(prefix)

    def tokens(count: int) -> list[int]:
        return rng.integers(0, engine.manifest.vocab_size, count).tolist()

    system, prefixes = tokens(prefix), PrefixCache(1 << 30)
    with engine.session(prefixes=prefixes) as session:
        session.prefill([system])
    reused, anew = [], []
    for _ in range(rounds):
        request = [*system, *tokens(QUESTION)]
        reused.append(first_token(engine, request, prefixes) * 1e3)
        anew.append(first_token(engine, request, None) * 1e3)
    held = prefixes.usage()
    if held.hits != rounds:
        raise RuntimeError(f"{held.hits} of {rounds} requests began where the prompt ended")
    ours, peer = statistics.median(reused), statistics.median(anew)
    name = f"first token behind {prefix} known ones, {held.nbytes >> 20} MiB kept"
    return Row(name, ours, peer, peer / ours)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for 3 GB, kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prefix", type=int, nargs="+", default=[512, 4096], help="lengths")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    given = parser.parse_args()
    engine = Engine.open(prepare(given.work), threads=given.threads, checksums=False)
    rows = [measure(engine, prefix, given.rounds) for prefix in given.prefix]
    print_table(rows)
    if given.json is not None:
        write_json(rows, given.json)


if __name__ == "__main__":
    main()
