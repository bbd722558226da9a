"""Errors layer by layer, and the first place whose error its input does not explain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deltaport.decoder_interface import tap_names
from deltaport.exporter.model_spec import ModelSpec
from deltaport.numerics import relative_error
from deltaport.state_layout import StateLayout
from deltaport.verify.bounds import Bounds
from deltaport.verify.compare import state_errors, token_errors
from deltaport.verify.engine_run import EngineRun
from deltaport.verify.oracle import Array, Reference

__all__ = ["AT_EMBEDDING", "Departure", "Drift", "LayerDrift", "locate", "measure", "worst"]

AT_EMBEDDING = "at the embedding"
"""The ``part`` of the one departure that comes before all layers."""

JUMP = 8.0
"""Growth, over what comes in, that no sound layer gives an error.

Layers of real models multiply an error by 2 or 3 at most: they add to the residual stream what is
seldom larger than it.
"""


@dataclass(frozen=True)
class LayerDrift:
    """Relative errors of one layer: of its state, by input name, and of the residual stream.

    ``mixed`` is that after its mixer, ``output`` that after its feed-forward.
    """

    state: Mapping[str, float]
    mixed: float
    output: float


@dataclass(frozen=True)
class Drift:
    """Relative errors on the way through a model, in the order they arise."""

    embedded: float
    layers: tuple[LayerDrift, ...]
    logits: float


@dataclass(frozen=True)
class Departure:
    """Where an engine departs. ``layer`` is None before the first layer and after the last.

    ``before`` is the error of what the place was given, ``error`` that of what it made of it.
    """

    layer: int | None
    part: str
    error: float
    before: float

    def describe(self) -> str:
        """``departs at layer 2, feed-forward: error 3.1e-02, before it 4.0e-07``."""
        errors = f"error {self.error:.1e}, before it {self.before:.1e}"
        if self.layer is not None:
            return f"departs at layer {self.layer}, {self.part}: {errors}"
        return f"departs {self.part}: {errors}"


def measure(
    layout: StateLayout, taps: Mapping[str, Array], run: EngineRun, reference: Reference
) -> Drift:
    """Compare an engine's run of a prompt, with the ``taps`` it noted, with the oracle's."""
    errors = {name: relative_error(taps[name], wanted) for name, wanted in reference.taps.items()}
    of_state = state_errors(layout, run.state, reference.state)
    num_layers = len(errors) // 2
    embedded, *stream = (errors[name] for name in tap_names(num_layers))
    layers = tuple(
        LayerDrift(
            {t.input: of_state[t.input] for t in layout if t.layer == i},
            mixed=stream[2 * i],
            output=stream[2 * i + 1],
        )
        for i in range(num_layers)
    )
    return Drift(embedded, layers, float(token_errors(run.logits, reference.logits).max()))


def worst(drifts: Sequence[Drift]) -> Drift:
    """The largest error at each place."""
    return Drift(
        embedded=max(drift.embedded for drift in drifts),
        layers=tuple(
            LayerDrift(
                {name: max(layer.state[name] for layer in layers) for name in layers[0].state},
                mixed=max(layer.mixed for layer in layers),
                output=max(layer.output for layer in layers),
            )
            for layers in zip(*(drift.layers for drift in drifts), strict=True)
        ),
        logits=max(drift.logits for drift in drifts),
    )


@dataclass(frozen=True)
class _Place:
    """One step on the way. ``order`` is its number, the same in every run."""

    order: int
    layer: int | None
    part: str
    error: float
    before: float
    allowed: float

    @property
    def growth(self) -> float:
        """Over what came in, of which an eighth of the bound counts as noise."""
        return self.error / max(self.before, self.allowed / JUMP)


def locate(whole: Drift, chunked: Drift, bounds: Bounds, spec: ModelSpec) -> Departure | None:
    """The first place that departs in either run; None where nothing is out of bounds.

    It is the first place out of bounds whose error is :data:`JUMP` times what came in. Where errors
    get out of bounds without such a jump, it is the largest step on the way there. What departs
    in chunks alone was carried from step to step, as nothing else is different there.
    """
    once = _first(list(_places(whole, bounds, spec, carried="")))
    again = _first(list(_places(chunked, bounds, spec, carried="state carried between steps, ")))
    found = [place for place in (once, again) if place is not None]
    if not found:
        return None
    first = min(found, key=lambda place: place.order)  # of two alike, that of the whole run
    return Departure(first.layer, first.part, first.error, first.before)


def _first(places: list[_Place]) -> _Place | None:
    out = [place for place in places if not place.error <= place.allowed]
    if not out:
        return None
    jumps = [place for place in out if place.growth >= JUMP]
    if jumps:
        return jumps[0]
    return max(places[: out[0].order + 1], key=lambda place: place.growth)


def _places(drift: Drift, bounds: Bounds, spec: ModelSpec, *, carried: str) -> Iterator[_Place]:
    """Every place in order. A mixer's error is the larger of its state's and its output's."""
    yield _Place(0, None, AT_EMBEDDING, drift.embedded, 0.0, bounds.stream)
    before = drift.embedded
    feed_forward = f"feed-forward ({'sparse MoE' if spec.is_moe else 'dense'})"
    for i, (layer, kind) in enumerate(zip(drift.layers, spec.layer_kinds, strict=True)):
        part = f"{carried}mixer ({kind.replace('_', ' ')})"
        error = layer.mixed
        if layer.mixed <= bounds.stream and layer.state:
            name, error = max(layer.state.items(), key=lambda item: item[1])
            part = f"{name.rpartition('.')[2]} state"
        yield _Place(2 * i + 1, i, part, error, before, bounds.state)
        yield _Place(2 * i + 2, i, feed_forward, layer.output, layer.mixed, bounds.stream)
        before = layer.output
    after = "after the last layer: final norm or output head"
    yield _Place(2 * len(drift.layers) + 1, None, after, drift.logits, before, bounds.logits)
