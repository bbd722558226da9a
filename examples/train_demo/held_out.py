"""How the model does on the text it was not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from examples.train_demo.config import NUM_EXPERTS
from examples.train_demo.data import Ids
from examples.train_demo.model import DemoModel
from examples.train_demo.objective import expert_counts

__all__ = ["Judgement", "judge"]


@dataclass(frozen=True)
class Judgement:
    """Figures on a text, whose token ids end with one that is no part of it.

    ``drafts_taken``: the share of places where the head's likeliest token is the one that the
    decoder will then think the likeliest. ``loads`` [routers,E]: how many tokens chose each expert,
    over what a fair share would be.
    """

    bits: float
    drafts_taken: float
    loads: Tensor

    def figures(self, size: int) -> dict[str, float]:
        """For the log, of a text of ``size`` bytes."""
        return {
            "bits_per_byte": self.bits / size,
            "drafts_taken": self.drafts_taken,
            "least_load": self.loads.min().item(),
            "most_load": self.loads.max().item(),
        }


@torch.no_grad()
def judge(
    model: DemoModel, ids: Ids, context: int, *, worker: int = 0, workers: int = 1
) -> Judgement:
    """In contexts of ``context`` tokens, of which each of the ``workers`` reads its share."""
    model.eval()
    counts = torch.zeros(model.num_routers, NUM_EXPERTS)
    nats = right = drafts = 0.0
    tokens = torch.from_numpy(ids[:-1].astype("int64"))
    for start in range(worker * context, len(tokens) - 1, workers * context):
        part = tokens[start : start + context + 1]
        logits, after = model(part[None])
        nats += F.cross_entropy(logits[0, :-1], part[1:], reduction="sum").item()
        right += int((after[0].argmax(-1) == logits[0, 1:].argmax(-1)).sum())
        drafts += after.shape[1]
        counts += torch.stack([expert_counts(one) for one in model.router_logits])
    sums = torch.cat([torch.tensor([nats, right, drafts]), counts.flatten()]).double()
    if workers > 1:
        dist.all_reduce(sums)
    counts = sums[3:].view_as(counts)
    fair = counts.sum(dim=1, keepdim=True) / NUM_EXPERTS
    return Judgement(
        sums[0].item() / math.log(2), (sums[1] / sums[2]).item(), (counts / fair).float()
    )
