"""What training makes small: four losses, and their weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.train_demo.config import NUM_EXPERTS, TOP_K
from examples.train_demo.model import DemoModel

__all__ = ["WEIGHTS", "expert_counts", "losses"]

WEIGHTS = {"next": 1.0, "after": 0.3, "balance": 0.1, "logit": 1e-4}


def losses(model: DemoModel, ids: Tensor) -> dict[str, Tensor]:
    """By name, for rows of ids [B,T], in nats where they are entropies.

    ``next``: of the next token. ``after``: of the one after it, by the multi-token-prediction head.
    ``balance``: how unevenly routers choose, mean over layers. ``logit``: the squared normaliser,
    which keeps logits from drifting together.
    """
    after_one, after_two = model(ids)
    logits = after_one[:, :-1].flatten(0, 1)
    return {
        "next": F.cross_entropy(logits, ids[:, 1:].flatten()),
        "after": F.cross_entropy(after_two[:, :-1].flatten(0, 1), ids[:, 2:].flatten()),
        "balance": torch.stack([_imbalance(one) for one in model.router_logits]).mean(),
        "logit": logits.logsumexp(-1).square().mean(),
    }


def expert_counts(router_logits: Tensor) -> Tensor:
    """How many tokens chose each expert, [E], by router logits [...,E]."""
    chosen = router_logits.topk(TOP_K, dim=-1).indices
    return torch.bincount(chosen.flatten(), minlength=NUM_EXPERTS)


def _imbalance(router_logits: Tensor) -> Tensor:
    """The loss of Switch Transformers (Fedus et al. 2021): 1 where every expert has its share."""
    tokens = router_logits.shape[:-1].numel()
    share = expert_counts(router_logits) / (tokens * TOP_K)
    return NUM_EXPERTS * (share * router_logits.flatten(0, -2).softmax(-1).mean(0)).sum()
