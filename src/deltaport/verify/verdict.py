"""What the comparison of a prompt amounts to: what differs, and what else to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltaport.state_layout import StateLayout
from deltaport.verify.bounds import Bounds
from deltaport.verify.compare import (
    match_length,
    state_errors,
    token_divergences,
    token_errors,
    top1_agreement,
)
from deltaport.verify.engine_run import CHUNKED, EngineRun
from deltaport.verify.oracle import Array, Reference
from deltaport.verify.prompts import Prompt

__all__ = ["Difference", "Greedy", "PromptResult", "RunErrors", "compare_prompt"]


@dataclass(frozen=True)
class Difference:
    """One way in which an engine is out of bounds; ``allowed`` is None where there is no bound."""

    what: str
    found: float
    allowed: float | None
    where: str


@dataclass(frozen=True)
class RunErrors:
    """How far one run is from the oracle's.

    ``first_bad_token`` is the first out of bounds; ``tie``: there a router nearly ties, so that
    rounding within bounds may choose another expert, and both sides are right from there on.
    ``state_tie``: activations are rounded, so that bounds on logits are wide, and another expert
    need not show in them; it does in the state, which is out of bounds, but not far.
    """

    logit_error: float
    kl_mean: float
    kl_max: float
    top1: float
    first_bad_token: int | None
    tie: bool
    state_tie: bool
    state: Mapping[str, float]
    """Largest error by kind of state."""


@dataclass(frozen=True)
class Greedy:
    """The greedy continuation. ``tie``: where it first departs, rounding decides.

    ``logit_error`` is over the logits behind all tokens up to that place. ``router_tie``: where
    they are first out of bounds, a router nearly ties.
    """

    matched: int
    of: int
    logit_error: float
    tie: bool
    router_tie: bool


@dataclass(frozen=True)
class PromptResult:
    """One prompt: errors by how it was cut into steps."""

    prompt: Prompt
    runs: Mapping[str, RunErrors]
    greedy: Greedy
    router_margin: float
    router_margin_token: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def router_tied(self) -> bool:
        """Whether results part at a router's near-tie, and are not judged from there on."""
        return self.greedy.router_tie or any(run.tie or run.state_tie for run in self.runs.values())


def compare_prompt(
    prompt: Prompt,
    reference: Reference,
    runs: Mapping[str, EngineRun],
    layout: StateLayout,
    bounds: Bounds,
) -> PromptResult:
    """Compare the engine's runs of a prompt, by cut, with the oracle's.

    The one in chunks has the continuation.
    """
    errors = {cut: _run_errors(run, reference, layout, bounds) for cut, run in runs.items()}
    greedy = _greedy(runs[CHUNKED], reference, bounds)
    differences = [
        found
        for cut, run in errors.items()
        if not run.tie
        for found in _run_differences(run, bounds, f"{prompt.name}, {cut}")
    ]
    if not errors[CHUNKED].tie:  # what follows a tie is not judged either
        differences += _greedy_differences(greedy, bounds, prompt.name)
    token = int(reference.margins.argmin())
    margin = float(reference.margins[token])
    notes = _notes(prompt.name, errors, greedy, reference)
    return PromptResult(prompt, errors, greedy, margin, token, tuple(differences), tuple(notes))


def _notes(
    name: str, errors: Mapping[str, RunErrors], greedy: Greedy, reference: Reference
) -> list[str]:
    """What is out of bounds and yet no fault."""
    notes = []
    if greedy.tie:
        notes.append(
            f"{name}: greedy token {greedy.matched + 1} differs where the oracle's two best "
            "are so close that rounding within bounds decides; that is no fault"
        )
    parted = (run.first_bad_token for run in errors.values() if run.tie)
    tied = min((token for token in parted if token is not None), default=None)
    if tied is not None:
        notes.append(
            f"{name}: at token {tied + 1} two experts are {reference.margins[tied]:.1e} "
            "apart for the router, so that rounding may choose either; what comes before was "
            "judged, what comes after was not"
        )
    elif any(run.state_tie for run in errors.values()):
        notes.append(
            f"{name}: two experts are {reference.margins.min():.1e} apart for a router, so that "
            f"rounding may choose either; state was allowed {_BY_AN_EXPERT} times its bound"
        )
    elif greedy.router_tie:
        notes.append(
            f"{name}: two experts are within rounding of each other for the router while greedy "
            "tokens are chosen; those before were judged, those after were not"
        )
    return notes


def _run_errors(
    run: EngineRun, reference: Reference, layout: StateLayout, bounds: Bounds
) -> RunErrors:
    per_token = token_errors(run.logits, reference.logits)
    bad = np.flatnonzero(per_token > bounds.logits)
    first = int(bad[0]) if bad.size else None
    divergence = token_divergences(reference.logits, run.logits)
    by_kind: dict[str, float] = {}
    errors = state_errors(layout, run.state, reference.state)
    for tensor in layout:
        by_kind[tensor.kind] = max(by_kind.get(tensor.kind, 0.0), errors[tensor.input])
    return RunErrors(
        logit_error=float(per_token.max()),
        kl_mean=float(divergence.mean()),
        kl_max=float(divergence.max()),
        top1=top1_agreement(run.logits, reference.logits),
        first_bad_token=first,
        tie=first is not None and _router_ties(reference.margins, per_token, first, bounds),
        state_tie=first is None and _state_ties(by_kind, reference.margins, bounds),
        state=by_kind,
    )


def _router_ties(margins: Array, errors: NDArray[np.float64], at: int, bounds: Bounds) -> bool:
    """Whether another expert may explain that results first part ``at`` this token.

    Whatever another expert gives is a number.
    """
    return bool(margins[at] < bounds.router_tie and np.isfinite(errors[at]))


_BY_AN_EXPERT = 4
"""Bounds of state that another expert may lead out of; seen were 1.1."""


def _state_ties(state: Mapping[str, float], margins: Array, bounds: Bounds) -> bool:
    """Whether another expert may explain state out of bounds where logits are within theirs.

    One of several experts of one layer moves the residual stream by a part of it.
    """
    worst = max(state.values(), default=0.0)
    tied = bool((margins < bounds.router_tie).any())
    return bounds.dtype == "int8" and tied and bounds.state < worst <= _BY_AN_EXPERT * bounds.state


def _run_differences(run: RunErrors, bounds: Bounds, where: str) -> list[Difference]:
    found = []
    if not run.logit_error <= bounds.logits:
        found.append(Difference("logit error", run.logit_error, bounds.logits, where))
    for kind, error in run.state.items():
        if not error <= bounds.state and not run.state_tie:
            found.append(Difference(f"{kind} state error", error, bounds.state, where))
    return found


def _greedy(run: EngineRun, reference: Reference, bounds: Bounds) -> Greedy:
    count = len(reference.greedy)
    if not count:
        return Greedy(0, 0, 0.0, tie=False, router_tie=False)
    matched = match_length(run.greedy, reference.greedy)
    # As long as the tokens are the same, so is what both have read.
    same = min(matched + 1, count)
    errors = token_errors(run.greedy_logits[:same], reference.greedy_logits[:same])
    bad = np.flatnonzero(errors > bounds.logits)
    return Greedy(
        matched,
        count,
        float(errors.max()),
        tie=matched < count
        and _is_tie(reference.greedy_logits[matched], run.greedy[matched], bounds),
        router_tie=bool(bad.size)
        and _router_ties(reference.greedy_margins, errors, int(bad[0]), bounds),
    )


def _is_tie(logits: Array, chosen: int, bounds: Bounds) -> bool:
    """Whether errors within bounds may have lifted ``chosen`` over the oracle's best token.

    One may be off by the bound downwards, the other upwards, so the gap may be twice that.
    """
    gap = float(logits.max()) - float(logits[chosen])
    return gap <= 2 * bounds.logits * float(np.abs(logits).max())


def _greedy_differences(greedy: Greedy, bounds: Bounds, where: str) -> list[Difference]:
    if greedy.router_tie:
        return []
    found = []
    if not greedy.logit_error <= bounds.logits:
        found.append(
            Difference("logit error while continuing", greedy.logit_error, bounds.logits, where)
        )
    if greedy.matched < greedy.of and not greedy.tie:
        found.append(Difference("greedy tokens equal", greedy.matched, None, where))
    return found
