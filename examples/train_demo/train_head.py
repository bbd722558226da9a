"""Teach the multi-token-prediction head what the finished decoder will say, not what the text says.

A draft counts when the decoder agrees with it, so the decoder's own distribution is the better
teacher. The decoder stays as it is. Run from the repository, once training is done:
python -m examples.train_demo.train_head WORK
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.train_demo.config import demo_spec
from examples.train_demo.data import SEED, Stretches, load
from examples.train_demo.held_out import judge
from examples.train_demo.model import DemoModel
from examples.train_demo.objective import WEIGHTS, imbalance
from examples.train_demo.optimizer import build_optimizers
from examples.train_demo.training import HEAD_DONE, LONG_ROWS, STATE

_PHASE = 2
_PEAK = 0.3
"""Of the learning rates that training began with; the head knows most of it already."""


def main() -> None:
    """Train the head and save it in place of what it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    file = arguments.work / STATE
    state = torch.load(file, weights_only=True)
    if state["step"] < state["steps"] or HEAD_DONE in state:
        parser.error(f"{arguments.work}: train is not done, or this is")
    model = DemoModel(demo_spec())
    model.load_state_dict(state["model"])
    judged = load(arguments.work, "held_out")
    print(f"before: {judge(model, judged, LONG_ROWS[1]).drafts_taken:.1%} of drafts taken")
    stretches = Stretches(load(arguments.work, "training"), LONG_ROWS[1], phase=_PHASE)
    train_head(model, stretches, arguments.steps)
    print(f"after: {judge(model, judged, LONG_ROWS[1]).drafts_taken:.1%} of drafts taken")
    partial = file.with_suffix(".partial")
    torch.save(state | {"model": model.state_dict(), HEAD_DONE: arguments.steps}, partial)
    partial.replace(file)


def train_head(model: DemoModel, stretches: Stretches, steps: int) -> None:
    """Train ``model.mtp`` and nothing else."""
    torch.manual_seed(SEED)
    model.requires_grad_(requires_grad=False)
    model.mtp.requires_grad_(requires_grad=True)
    model.train()
    optimizers = build_optimizers(model.mtp)
    peaks = [[_PEAK * group["lr"] for group in one.param_groups] for one in optimizers]
    for step in range(steps):
        for optimizer, own in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = peak * (1 - step / steps)
        divergence, balance = head_losses(model, stretches[step][None])
        (divergence + WEIGHTS["balance"] * balance).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % 10 == 0:
            print(f"{step + 1}/{steps}  cross-entropy {divergence.item():.3f}", flush=True)


def head_losses(model: DemoModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """For rows of ids [B,T]: cross-entropy with the decoder's distributions; router imbalance.

    The head's guess at place t is of the token that the decoder predicts at t + 1.
    """
    logits, after = model(ids)
    wanted = logits[:, 1:].detach().flatten(0, 1).softmax(-1)
    return F.cross_entropy(after.flatten(0, 1), wanted), imbalance(model.router_logits[-1])


if __name__ == "__main__":
    main()
