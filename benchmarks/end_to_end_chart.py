"""The chart of ``end_to_end``: tokens a second of a prompt and after it, engine by engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["draw"]

Figures = Mapping[str, Mapping[str, float]]
"""By the engine's name, by the name of the figure."""


def draw(models: Mapping[str, Figures], ours: set[str], path: Path) -> None:
    """Bars for each of ``models``, prompt on the left and decode on the right; ours stand out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 1.6 * len(models)), layout="constrained")
    axes = figure.subplots(len(models), 2, squeeze=False)
    for row, (model, engines) in zip(axes, models.items(), strict=True):
        names = list(engines)[::-1]
        colours = ["tab:blue" if name in ours else "lightgray" for name in names]
        for place, what in zip(row, ("prefill", "decode"), strict=True):
            bars = place.barh(names, [engines[name][what] for name in names], color=colours)
            place.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
            place.set_title(f"{model}, {what}: tokens/s", fontsize=9)
            place.tick_params(labelsize=8)
            place.margins(x=0.15)
        row[1].set_yticklabels([])
    figure.savefig(path, dpi=110)
