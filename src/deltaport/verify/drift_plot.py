"""The errors of ``verify --layers`` as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaport.atomic_file import replacing
from deltaport.errors import InputError, OutputError
from deltaport.verify.bounds import Bounds
from deltaport.verify.drift import AT_EMBEDDING, Departure, Drift
from deltaport.verify.report import Layers, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_plot", "draw"]

_PNG = b"\x89PNG\r\n\x1a\n"
_LEAST = 1e-9
"""What an error of 0 is drawn as, far below any rounding, on an axis that has no 0."""


def check_plot(path: Path) -> None:
    """Refuse, before anything is run, what :func:`draw` could not do or should not overwrite."""
    if find_spec("matplotlib") is None:
        raise InputError(
            "--plot needs matplotlib, not installed here; install with: "
            "pip install 'deltaport[verify]'"
        )
    try:
        if path.exists() or path.is_symlink():
            if not path.is_file() or path.read_bytes()[: len(_PNG)] != _PNG:
                raise OutputError(f"{path}: exists and is no PNG picture; choose another name")
        elif not path.absolute().parent.is_dir():
            raise OutputError(f"{path}: its folder does not exist; create it first")
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None


def draw(report: Report, path: Path) -> None:
    """Write the layers of ``report`` as a PNG that appears whole or not at all."""
    layers = report.layers
    assert layers is not None, "there is nothing to draw unless layers were looked at"
    # Without pyplot: no window, no global state, whatever the user has configured.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = min(24.0, max(8.0, 0.25 * len(layers.kinds)))
    figure = Figure(figsize=(width, 5.0), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, (cut, drift) in zip(("C0", "C1"), layers.drift.items(), strict=True):
        _draw_run(axes, drift, cut, colour)
    _draw_frame(axes, layers, report.bounds)
    if layers.departure is not None:
        _draw_departure(axes, layers.departure, len(layers.kinds))
    # A path is any text: matplotlib must not take it for a formula.
    axes.set_title(
        f"Where the engine departs from {report.oracle}"
        if layers.departure
        else f"The engine and {report.oracle}, layer by layer",
        parse_math=False,
    )
    axes.legend(fontsize="small", ncols=2)
    _save(canvas, path)


def _draw_run(axes: Axes, drift: Drift, cut: str, colour: str) -> None:
    """The residual stream as a line from the embedding to the logits, states as dots on it."""
    stream = [(_embedding_at(len(drift.layers)), drift.embedded)]
    states = []
    for i, layer in enumerate(drift.layers):
        stream += [(i, layer.mixed), (i + 0.5, layer.output)]
        states += [(i, error) for error in layer.state.values()]
    stream.append((len(drift.layers), drift.logits))
    style: dict[str, Any] = {"color": colour, "linewidth": 1.2, "markersize": 3}
    axes.plot(*_points(stream), marker="o", label=f"residual stream, {cut}", **style)
    style |= {"linestyle": "none", "markersize": 6, "fillstyle": "none"}
    axes.plot(*_points(states), marker="s", label=f"state tensors, {cut}", **style)


def _embedding_at(count: int) -> float:
    """Where the embedding is drawn: so far before layer 0 that their labels do not touch."""
    return -max(0.5, count / 30)


def _points(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    # An error that is not finite cannot be drawn either: as large as an error gets.
    return [x for x, _ in pairs], [min(max(y, _LEAST), 1e3) for _, y in pairs]


def _draw_frame(axes: Axes, layers: Layers, bounds: Bounds) -> None:
    count = len(layers.kinds)
    axes.set_yscale("log")
    axes.axhline(
        bounds.stream, color="0.3", linestyle="--", linewidth=1, label="allowed inside the model"
    )
    axes.plot([count], [bounds.logits], "_", color="k", markersize=14, label="allowed for logits")
    for i, kind in enumerate(layers.kinds):
        if kind == "full_attention":
            axes.axvspan(i - 0.25, i + 0.25, color="0.92", zorder=0)
    every = -(-count // 24)
    numbers = list(range(0, count, every))
    axes.set_xticks(
        [_embedding_at(count), *numbers, count], ["embed", *map(str, numbers), "logits"]
    )
    axes.tick_params(axis="x", labelsize="small")
    axes.set_xlabel("layer (after the mixer at its number, after the feed-forward half a step on; "
                    "grey: full attention)")  # fmt: skip
    axes.set_ylabel("largest error / largest value")
    axes.grid(axis="y", color="0.9")


def _draw_departure(axes: Axes, departure: Departure, count: int) -> None:
    if departure.layer is not None:
        x = departure.layer + (0.5 if departure.part.startswith("feed-forward") else 0.0)
        text = f"layer {departure.layer}\n{departure.part}"
    else:
        x = _embedding_at(count) if departure.part == AT_EMBEDDING else float(count)
        text = departure.part.removeprefix("at the ")
    _, (y,) = _points([(x, departure.error)])
    right = x > count / 2
    axes.plot([x], [y], marker="o", markersize=12, fillstyle="none", color="C3", linestyle="none")
    axes.annotate(
        f"{text}\n{departure.error:.1e}",
        (x, y),
        xytext=(-14 if right else 14, -10),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        color="C3",
        fontsize="small",
    )


def _save(canvas: Any, path: Path) -> None:
    try:
        with replacing(path) as file:
            canvas.print_png(file)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
