"""Finding the first place whose error its input does not explain."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from deltaport.exporter.model_spec import ModelSpec
from deltaport.verify.bounds import Bounds
from deltaport.verify.drift import Departure, Drift, LayerDrift, locate, worst
from deltaport.verify.drift_plot import draw
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.report import Layers, Report
from tests.configs import CONFIG_397B

BOUNDS = Bounds("float32")
SPEC = ModelSpec.from_config(CONFIG_397B | {"num_hidden_layers": 8}, source="test")
NOISE = 4e-7


def sound() -> Drift:
    layers = [LayerDrift({f"past.{i}.a": NOISE, f"past.{i}.b": NOISE}, NOISE, NOISE)
              for i in range(8)]  # fmt: skip
    return Drift(0.0, tuple(layers), NOISE)


def damaged(layer: int, *, mixed: float = NOISE, output: float, state: float = NOISE) -> Drift:
    """One layer as given, and all that follow as wrong as its output."""
    layers = list(sound().layers)
    layers[layer] = LayerDrift({**layers[layer].state, f"past.{layer}.b": state}, mixed, output)
    for i in range(layer + 1, 8):
        layers[i] = LayerDrift(dict.fromkeys(layers[i].state, 2 * output), 2 * output, 2 * output)
    return Drift(0.0, tuple(layers), max(output, NOISE))


def located(whole: Drift, chunked: Drift | None = None) -> Departure | None:
    return locate(whole, chunked or whole, BOUNDS, SPEC)


def test_a_sound_engine_departs_nowhere() -> None:
    assert located(sound()) is None


def test_a_feed_forward() -> None:
    found = located(damaged(2, output=3.1e-2))
    assert found == Departure(2, "feed-forward (sparse MoE)", 3.1e-2, NOISE)
    assert found.describe() == (
        "departs at layer 2, feed-forward (sparse MoE): error 3.1e-02, before it 4.0e-07"
    )


@pytest.mark.parametrize(("layer", "kind"), [(1, "linear attention"), (3, "full attention")])
def test_a_mixer(layer: int, kind: str) -> None:
    found = located(damaged(layer, mixed=1e-3, output=1e-3, state=5e-3))
    assert found == Departure(layer, f"mixer ({kind})", 1e-3, NOISE)


def test_a_state_that_nothing_else_shows() -> None:
    found = located(damaged(1, output=NOISE, state=2e-4))
    assert found == Departure(1, "b state", 2e-4, NOISE)


def test_what_only_chunks_show_was_carried() -> None:
    found = located(sound(), damaged(4, mixed=1e-4, output=1e-4))
    part = "state carried between steps, mixer (linear attention)"
    assert found == Departure(4, part, 1e-4, NOISE)


def test_the_first_of_both_runs_counts() -> None:
    found = located(damaged(5, output=1e-2), damaged(4, mixed=1e-4, output=1e-4))
    assert found is not None
    assert found.layer == 4
    again = located(damaged(4, output=1e-2), damaged(5, mixed=1e-4, output=1e-4))
    assert again == Departure(4, "feed-forward (sparse MoE)", 1e-2, NOISE)


def test_the_embedding_and_the_head() -> None:
    embedding = located(Drift(1e-2, damaged(0, mixed=1e-2, output=1e-2).layers, 1e-2))
    assert embedding == Departure(None, "at the embedding", 1e-2, 0.0)
    assert embedding.describe().startswith("departs at the embedding: error 1.0e-02")
    head = located(replace(sound(), logits=3e-2))
    assert head == Departure(None, "after the last layer: final norm or output head", 3e-2, NOISE)


def test_errors_that_pile_up_evenly_are_blamed_on_the_largest_step() -> None:
    errors = [3e-6, 6e-6, 2.2e-5, 2.5e-5, 2.6e-5, 2.7e-5, 2.8e-5, 2.9e-5]
    layers = tuple(LayerDrift({}, error * 0.99, error) for error in errors)
    found = located(Drift(1e-6, layers, 1e-5))
    assert found is not None
    assert (found.layer, found.part) == (2, "mixer (linear attention)")


def test_a_jump_is_not_hidden_by_drift_before_it() -> None:
    errors = [5e-6, 1e-5, 1.5e-5, 2e-5, 2.4e-5, 3e-2, 3e-2, 3e-2]
    layers = tuple(LayerDrift({}, 0.99 * error, error) for error in errors)
    found = located(Drift(1e-6, layers, 1e-2))
    assert found is not None
    assert (found.layer, found.part) == (5, "mixer (linear attention)")


def test_what_is_no_number_departs_as_well() -> None:
    found = located(damaged(2, output=math.inf))
    assert found is not None
    assert (found.layer, found.error) == (2, math.inf)


def test_the_worst_of_several_prompts() -> None:
    found = worst([sound(), damaged(2, output=1e-2), damaged(5, output=1e-3)])
    assert found.layers[1].output == NOISE
    assert found.layers[2].output == 1e-2
    assert found.layers[5].mixed == 2e-2
    assert found.logits == 1e-2


@pytest.mark.parametrize("count", [1, 8, 60])
def test_a_plot_of_any_depth(tmp_path: Path, count: int) -> None:
    drift = damaged(2, output=3.1e-2)
    layers = tuple(drift.layers[min(i, 7)] for i in range(count))
    kinds = tuple(SPEC.layer_kinds[i % 8] for i in range(count))
    departure = None if count == 1 else Departure(2, "feed-forward (sparse MoE)", 3.1e-2, NOISE)
    report = Report(
        engine="e", checkpoint="c", oracle="an $oracle_1$", engine_dtype="float32",
        checkpoint_dtype="float32", rounding=MatrixRounding(), passes=None, bounds=BOUNDS,
        not_compared={}, prompts=(), notes=(),
        layers=Layers(
            kinds,
            {"whole": replace(drift, layers=layers), "in chunks": Drift(0.0, layers, math.inf)},
            departure,
        ),
    )  # fmt: skip
    draw(report, tmp_path / "drift.png")
    data = (tmp_path / "drift.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert len(data) > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["drift.png"], "nothing half-made stays"
