"""What quantizing the demo checkpoint costs, by recipe: table, and chart of size against loss.

Every recipe that is shipped, and int4-all in other blocks; experts of this checkpoint have 32
inputs, and keep blocks of 32. Each engine reads the held-out text beside one that is not quantized.

    python -m benchmarks.quantization_loss --plot docs/images/quantization.png
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deltaport.evaluate import evaluate
from deltaport.exporter.export import export_checkpoint
from deltaport.graph_passes.quantize.quantization_recipe import (
    quantization_recipe,
    shipped_recipes,
)
from deltaport.runtime import Engine

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo_checkpoint"
CONTEXT = 4096
NARROW = ("experts", "shared_expert")
VARIANTS = ("int4 block=32 asymmetric", "int4 block=128", "int4 block=128 asymmetric")


@dataclass(frozen=True)
class Point:
    """One engine: bits a quantized weight takes, and how far it is from the one without."""

    name: str
    bits: float
    perplexity: float
    ratio: float
    kl: float
    top1: float

    def row(self) -> str:
        """Of a Markdown table."""
        return (
            f"| {self.name} | {self.bits:.2f} | {self.perplexity:.3f} | "
            f"{100 * (self.ratio - 1):+.2f} % | {self.kl:.5f} | {100 * self.top1:.2f} % |"
        )


def recipes(folder: Path) -> dict[str, str]:
    """What to measure by name: shipped ones, and ``int4-all`` with every format replaced.

    Those with weights in fp8 are for TensorRT, which measures nothing here.
    """
    found = {
        name: name
        for name in shipped_recipes()
        if not any(stored.floating for stored in quantization_recipe(name).formats.values())
    }
    for variant in VARIANTS:
        path = folder / f"{variant.replace(' ', '-')}.toml"
        formats = dict.fromkeys(quantization_recipe("int4-all").formats, variant)
        for role in NARROW:
            formats[role] = variant.replace("block=128", "block=32")
        path.write_text("[roles]\n" + "".join(f'"{r}" = "{f}"\n' for r, f in formats.items()))
        found[f"int4-all, {variant.removeprefix('int4 ')}"] = str(path)
    return found


def measure(work: Path, text: str) -> list[Point]:
    """One point a recipe, fewest bits last."""
    export_checkpoint(DEMO, work / "reference", target="ort-cpu")
    reference = Engine.open(work / "reference")
    points = []
    for i, (name, recipe) in enumerate(recipes(work).items()):
        manifest = export_checkpoint(DEMO, work / f"{i}", target="ort-cpu", quantize=recipe)
        found = evaluate(Engine.open(work / f"{i}"), text, against=reference, context=CONTEXT)
        assert found.comparison is not None
        assert manifest.quantization is not None
        points.append(
            Point(
                name,
                manifest.quantization.bits_per_weight,
                found.score.perplexity.mean,
                found.comparison.ratio.mean,
                found.comparison.kl.mean,
                found.comparison.top1,
            )
        )
    assert found.reference is not None
    print(f"Without quantization: perplexity {found.reference.perplexity.mean:.3f}\n")
    return sorted(points, key=lambda point: -point.bits)


def draw(points: list[Point], path: Path) -> None:
    """Bits a weight against the loss of perplexity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([point.bits for point in points], [100 * (point.ratio - 1) for point in points], "o")
    for point in points:
        place = point.bits, 100 * (point.ratio - 1)
        axes.annotate(point.name, place, xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("bits a quantized weight, scales included")
    axes.set_ylabel("perplexity lost, %")
    axes.set_xlim(right=max(point.bits for point in points) + 0.6)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, default=200_000, help="of the held-out text")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the chart here")
    options = parser.parse_args()
    text = (DEMO / "held_out.txt").read_bytes()[: options.bytes].decode(errors="ignore")
    with tempfile.TemporaryDirectory() as work:
        points = measure(Path(work), text)
    print("| recipe | bits | perplexity | against fp32 | KL, nats | same token |")
    print("|---|--:|--:|--:|--:|--:|")
    for point in points:
        print(point.row())
    if options.plot:
        draw(points, options.plot)


if __name__ == "__main__":
    main()
