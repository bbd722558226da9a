"""Draw how training went.

Run from the repository: python -m examples.train_demo.draw_curves WORK PNG
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from examples.train_demo.training import HISTORY

_WINDOW = 25
"""Steps that are averaged: a step reads four thousand tokens, and some files are harder."""


def main() -> None:
    """Draw the losses, and what the held-out text says of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    history = json.loads((arguments.work / HISTORY).read_text())
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = np.array([figures["step"] for figures in history])
    for name, label in (("next", "next token"), ("after", "token after it (MTP)")):
        losses = np.array([figures[name] for figures in history])
        smooth = np.convolve(losses, np.ones(_WINDOW) / _WINDOW, "valid")
        left.plot(steps[_WINDOW - 1 :], smooth, label=label)
    left.set(xlabel="step", ylabel="nats a token", title="Training loss")
    left.legend()
    judged = [figures for figures in history if "bits_per_byte" in figures]
    right.plot([one["step"] for one in judged], [one["bits_per_byte"] for one in judged], "o-")
    right.set(xlabel="step", ylabel="bits a byte", title="Held-out text")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(arguments.picture, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
