"""What a token costs after a long context: the hybrid, and full attention in every layer.

Both have the shape of ``benchmarks.runtime``, with random weights in bf16. Of its 24 layers the
hybrid has 18 of the gated delta rule and 6 of full attention; the other has 24 of full attention.
Checkpoints and engines are made in --work on the first run, 6 GB in all, and used again.

    python -m benchmarks.long_context --work /tmp/dense --chart docs/images/long-context.svg

No context is read: 64k tokens would take an hour, and what a step takes does not depend on the
values. A sequence is put there by a ``Snapshot`` of random state, and goes on from it.

Figures are milliseconds a token, medians of the rounds, and megabytes (of 10^6 bytes) of one
sequence's state. ``ours`` is the hybrid, ``peer`` full attention in every layer, ``ratio`` how
often the hybrid goes into it. Rounds take turns. A turn opens its engine and closes it: at 64k the
caches of full attention have 6.4 GB, and twice that while the snapshot is copied.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, print_table, write_json
from benchmarks.runtime import SHAPE, Rows, prepare
from deltaport.runtime import Engine, Snapshot, _native
from deltaport.state_layout import StateTensor

CONTEXTS = (1024, 8192, 65_536)
ALL_ATTENTION = {"layer_types": ["full_attention"] * SHAPE["num_hidden_layers"]}
SPREAD = {"kv": 1.0, "conv": 1.0, "recurrent": 0.05}  # about what random input leaves behind
# Line and colour of ours and of the peer, told apart by the colour-blind and in grey.
LINES = {
    "ours": ("o-", "#0072b2", "hybrid: 18 layers gated delta rule, 6 full attention"),
    "peer": ("s--", "#d55e00", "all 24 layers full attention"),
}


def random_state(tensor: StateTensor, context: int, rng: np.random.Generator) -> NDArray[Any]:
    """One sequence's part of ``tensor``; bfloat16, which numpy has not, as its bits in uint16."""
    noise = rng.standard_normal(tensor.concrete_shape(1, context)[1:], dtype=np.float32)
    noise *= np.float32(SPREAD[tensor.kind])
    if tensor.dtype == "bfloat16":
        return (noise.view(np.uint32) >> 16).astype(np.uint16)
    return noise.astype(tensor.dtype, copy=False)


def random_past(engine: Engine, context: int) -> Snapshot:
    """A sequence of ``context`` tokens."""
    rng = np.random.default_rng(0)
    layout = engine.manifest.state
    # All layers share one array of each kind: it is copied.
    kinds = {tensor.kind: tensor for tensor in layout}
    drawn = {kind: random_state(tensor, context, rng) for kind, tensor in kinds.items()}
    parts = [drawn[tensor.kind].reshape(-1).view(np.uint8) for tensor in layout]
    native = _native.Snapshot(engine.native, [11] * context, context, None, parts)
    return Snapshot(engine.manifest, native)


def turn(folder: Path, context: int, threads: int, steps: int) -> tuple[float, float]:
    """Milliseconds a token and megabytes of state, after ``context`` tokens."""
    engine = Engine.open(folder, threads=threads, checksums=False)
    rows = Rows(engine, 1, random_past(engine, context))
    rows.seconds(1)  # sets up what further steps of one token use again
    milliseconds = 1e3 * rows.seconds(steps) / steps
    megabytes = rows.session.state.nbytes / 1e6
    rows.session.close()
    return milliseconds, megabytes


def measure(
    folders: Sequence[Path], context: int, threads: int, rounds: int, steps: int
) -> tuple[Row, Row]:
    """Rows of time and of memory after ``context`` tokens; ``folders``: hybrid, all attention."""
    turns = [[turn(folder, context, threads, steps) for folder in folders] for _ in range(rounds)]
    print(f"{rounds} rounds after {context:,} tokens done", flush=True)
    times, sizes = zip(*(zip(*each, strict=True) for each in zip(*turns, strict=True)), strict=True)
    ours, peer = (statistics.median(each) for each in times)
    time = Row(f"milliseconds a token after {context:,}", ours, peer, peer / ours)
    ours, peer = (statistics.median(each) for each in sizes)
    return time, Row(f"megabytes of state after {context:,}", ours, peer, peer / ours)


def draw(times: Sequence[Row], sizes: Sequence[Row], path: Path) -> None:
    """Draw rows, one for each context: time on the left, memory on the right."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, "Time of a token (ms)", times)
    _panel(right, "State of a sequence (MB)", sizes)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    # The same figures make the same file.
    with matplotlib.rc_context({"svg.hashsalt": "long-context"}):
        figure.savefig(path, metadata={"Date": None})


def _panel(axes: Any, title: str, rows: Sequence[Row]) -> None:
    for name, (line, colour, label) in LINES.items():
        heights = [getattr(row, name) for row in rows]
        axes.plot(CONTEXTS, heights, line, color=colour, label=label)
        beside = {"xytext": (-6, 7) if name == "peer" else (0, -16), "textcoords": "offset points"}
        for at in zip(CONTEXTS, heights, strict=True):
            axes.annotate(f"{at[1]:,.0f}", at, **beside, ha="center", color=colour)
    axes.set(xscale="log", title=title, xlabel="tokens before it")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xticks(CONTEXTS, [f"{context // 1024}k" for context in CONTEXTS])
    axes.minorticks_off()
    highest = max(max(row.ours, row.peer or 0.0) for row in rows)
    axes.set_ylim(-0.12 * highest, 1.15 * highest)  # room for the numbers
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for 6 GB, kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="steps a turn")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--chart", type=Path, help="draw them in this file, an SVG")
    given = parser.parse_args()
    folders = [prepare(given.work), prepare(given.work / "all-attention", **ALL_ATTENTION)]
    found = [
        measure(folders, context, given.threads, given.rounds, given.steps) for context in CONTEXTS
    ]
    times, sizes = zip(*found, strict=True)
    print_table([*times, *sizes])
    if given.json is not None:
        write_json([*times, *sizes], given.json)
    if given.chart is not None:
        draw(times, sizes, given.chart)


if __name__ == "__main__":
    main()
