"""The loop of one worker, and what it needs to go on after a kill."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from examples.train_demo.config import demo_spec
from examples.train_demo.data import HELD_OUT, SEED, Stretches, load, with_repeats
from examples.train_demo.held_out import judge
from examples.train_demo.model import DemoModel
from examples.train_demo.objective import WEIGHTS, losses
from examples.train_demo.optimizer import build_optimizers

__all__ = ["HISTORY", "LONG_ROWS", "STATE", "Training"]

SHORT_ROWS, LONG_ROWS = (2, 1024), (1, 2048)
"""Rows and their tokens that a worker reads a step: at first, and at the end."""
WARM_UP, DECAY, LONG = 50, 0.5, 0.15
"""Steps of rising learning rate; the last share of all steps in which it falls to zero, and the
last share whose rows are long."""
REPEATED = 0.4
"""Of the short rows."""
SAVE_EVERY, JUDGE_EVERY = 100, 250
CLIP = 1.0
STATE, HISTORY = "training_state.pt", "history.json"


class Training:
    """Workers keep equal models: each has its own rows, and all apply the mean gradient."""

    def __init__(self, work: Path, steps: int) -> None:
        torch.manual_seed(SEED)
        self.work, self.steps = work, steps
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()
        training = load(work, "training")
        self.short = Stretches(training, SHORT_ROWS[0] * SHORT_ROWS[1], phase=0)
        self.long = Stretches(training, LONG_ROWS[0] * LONG_ROWS[1], phase=1)
        self.judged = load(work, "held_out")
        self.model = DemoModel(demo_spec())
        self.optimizers = build_optimizers(self.model)
        self.peaks = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        self.step = 0
        self.history: list[dict[str, float]] = []
        if (work / STATE).exists():
            self._resume()

    def run(self) -> None:
        """Train to the last step."""
        started, first = time.monotonic(), self.step
        while self.step < self.steps:
            figures = self._train_step()
            self.step += 1
            last = self.step == self.steps
            if self.step % JUDGE_EVERY == 0 or last:
                figures |= self._judge()
            self.history.append(figures | {"step": self.step})
            if self.rank == 0 and (self.step % 10 == 0 or last):
                pace = (time.monotonic() - started) / (self.step - first)
                left = pace * (self.steps - self.step) / 60
                shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
                print(f"{self.step}/{self.steps}  {shown}  {left:.0f} min left", flush=True)
            if self.rank == 0 and (self.step % SAVE_EVERY == 0 or last):
                self._save()

    def _train_step(self) -> dict[str, float]:
        factor = self._schedule()
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
        self.model.train()
        found = losses(self.model, self._rows())
        torch.stack([weight * found[name] for name, weight in WEIGHTS.items()]).sum().backward()
        figures = self._share_gradients({name: loss.item() for name, loss in found.items()})
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return figures

    def _share_gradients(self, figures: dict[str, float]) -> dict[str, float]:
        """Give every worker the mean of all workers' gradients, and of their figures."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        shared = [*gradients, torch.tensor([*figures.values()])]
        flat = torch.cat([one.flatten() for one in shared])
        dist.all_reduce(flat)
        *parts, means = (flat / self.workers).split([one.numel() for one in shared])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return dict(zip(figures, means.tolist(), strict=True))

    def _schedule(self) -> float:
        """The share of the peak learning rates at this step."""
        rising = (self.step + 1) / WARM_UP
        falling = (self.steps - self.step) / (DECAY * self.steps)
        return min(1.0, rising, falling)

    def _rows(self) -> Tensor:
        """Token ids [B,T] of this worker's next step."""
        with_long = self.step - round((1 - LONG) * self.steps)
        if with_long < 0:
            rows = self.short[self.step * self.workers + self.rank].view(SHORT_ROWS)
            return with_repeats(rows, REPEATED, seed=(SEED, self.step, self.rank))
        return self.long[with_long * self.workers + self.rank].view(LONG_ROWS)

    def _judge(self) -> dict[str, float]:
        _, context = LONG_ROWS
        found = judge(self.model, self.judged, context, worker=self.rank, workers=self.workers)
        return found.figures((self.work / HELD_OUT).stat().st_size)

    def _save(self) -> None:
        """All or nothing: a kill while saving leaves the save before."""
        state: dict[str, Any] = {
            "step": self.step,
            "steps": self.steps,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "history": self.history,
        }
        partial = self.work / f"{STATE}.partial"
        torch.save(state, partial)
        partial.replace(self.work / STATE)
        (self.work / HISTORY).write_text(json.dumps(self.history))

    def _resume(self) -> None:
        state = torch.load(self.work / STATE, weights_only=True)
        if state["steps"] != self.steps:
            raise SystemExit(f"{self.work}: was begun with --steps {state['steps']}; go on with it")
        self.step, self.history = state["step"], state["history"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
