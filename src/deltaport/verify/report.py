"""What a verification found, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deltaport.strict_json import finite_only
from deltaport.verify.bounds import Bounds
from deltaport.verify.drift import Departure, Drift
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.prefix_engine import PassesPrefix
from deltaport.verify.verdict import Difference, PromptResult

__all__ = ["Layers", "Report"]


@dataclass(frozen=True)
class Layers:
    """Errors layer by layer, by how prompts were cut; ``kinds`` names each layer's mixer.

    ``departure`` is None where the engine is within bounds, or no place is out of them.
    """

    kinds: tuple[str, ...]
    drift: Mapping[str, Drift]
    departure: Departure | None


@dataclass(frozen=True)
class Report:
    """Everything a verification found; ``layers`` is None unless they were asked for.

    ``rounding`` is what was done to the oracle's matrices, as the export did to the engine's;
    ``passes`` is None where the engine itself was run.
    """

    engine: str
    checkpoint: str
    oracle: str
    engine_dtype: str
    checkpoint_dtype: str
    rounding: MatrixRounding
    passes: PassesPrefix | None
    bounds: Bounds
    not_compared: Mapping[str, int]
    prompts: tuple[PromptResult, ...]
    layers: Layers | None
    notes: tuple[str, ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What is out of bounds, of all prompts."""
        return tuple(found for prompt in self.prompts for found in prompt.differences)

    @property
    def equal(self) -> bool:
        """Whether the engine is equal to the oracle within the bounds."""
        return not self.differences

    def verdict(self) -> str:
        """One line: equal, or the worst of every kind of difference."""
        if self.equal:
            ties = sum(prompt.router_tied for prompt in self.prompts)
            but = f", up to router ties in {ties} of {len(self.prompts)} prompts" if ties else ""
            return f"equal to {self.oracle} within tolerance{but}"
        worst: dict[str, Difference] = {}
        for found in self.differences:
            known = worst.get(found.what)
            if known is None or _badness(found) > _badness(known):
                worst[found.what] = found
        return f"DIFFERS from {self.oracle}: " + "; ".join(
            _describe(found, self) for found in worst.values()
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; numbers that are not finite are null."""
        document: dict[str, Any] = {
            "engine": self.engine,
            "checkpoint": self.checkpoint,
            "oracle": self.oracle,
            "equal": self.equal,
            "verdict": self.verdict(),
            "stored_as": {
                "engine": self.engine_dtype,
                "checkpoint": self.checkpoint_dtype,
                "oracle_rounded_to": self.rounding.dtype,
                "oracle_quantized_by": self.rounding.recipe,
            },
            "passes_prefix": None if self.passes is None else asdict(self.passes),
            "allowed": {
                "rounding_of": self.bounds.dtype,
                "logit_error": self.bounds.logits,
                "state_error": self.bounds.state,
                "router_margin": self.bounds.router_tie,
            },
            "not_compared": dict(self.not_compared),
            "prompts": [_prompt_json(result) for result in self.prompts],
            "differences": [asdict(found) for found in self.differences],
            "notes": list(self.notes),
        }
        if self.layers is not None:
            departure = self.layers.departure
            document["layers"] = {
                "kinds": list(self.layers.kinds),
                "runs": {cut: asdict(drift) for cut, drift in self.layers.drift.items()},
                "departure": asdict(departure) if departure else None,
            }
        return {name: finite_only(value) for name, value in document.items()}


def _badness(found: Difference) -> float:
    return -found.found if found.allowed is None else found.found


def _describe(found: Difference, report: Report) -> str:
    if found.allowed is None:
        of = next(r.greedy.of for r in report.prompts if r.prompt.name == found.where)
        return f"greedy tokens differ after {found.found:.0f} of {of} ({found.where})"
    return f"{found.what} {found.found:.1e} (allowed {found.allowed:.1e}; {found.where})"


def _prompt_json(result: PromptResult) -> dict[str, Any]:
    return {
        "name": result.prompt.name,
        "tokens": len(result.prompt.tokens),
        "runs": {cut: asdict(run) for cut, run in result.runs.items()},
        "greedy": asdict(result.greedy),
        "router_margin": result.router_margin,
        "router_tied": result.router_tied,
        "router_margin_token": result.router_margin_token,
    }
