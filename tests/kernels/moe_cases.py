"""Cases of the mixtures of experts, and NaN in every weight that nobody may read."""

from __future__ import annotations

import numpy as np

from tests.kernels.op_runner import is_padding
from tests.oracles import Array
from tests.oracles.sparse_moe import chosen_experts

__all__ = ["Case", "make_case", "poison_unchosen"]

Case = dict[str, Array]


def make_case(
    seed: int,
    *,
    T: int,
    experts: int = 8,
    dims: tuple[int, int] = (10, 6),
    lengths: list[int] | None = None,
) -> Case:
    rng = np.random.default_rng(seed)
    lengths = [T] if lengths is None else lengths
    (H, width), B = dims, len(lengths)
    case = {
        "x": rng.normal(size=(B, T, H)),
        "router_logits": rng.normal(size=(B, T, experts)),
        "gate_up": rng.normal(size=(experts, 2 * width, H)) * H**-0.5,
        "down": rng.normal(size=(experts, H, width)) * width**-0.5,
    }
    single = {name: array.astype(np.float32) for name, array in case.items()}
    return single | {"lengths": np.array(lengths, np.int64)}


def poison_unchosen(case: Case, top_k: int) -> Case:
    """NaN in the weights of every expert that no real token has chosen."""
    real = ~is_padding(case["x"].shape[1], case["lengths"])
    chosen = {int(e) for row in case["router_logits"][real] for e in chosen_experts(row, top_k)}
    unchosen = [e for e in range(len(case["down"])) if e not in chosen]
    poisoned = case | {name: case[name].copy() for name in ("gate_up", "down")}
    for name in ("gate_up", "down"):
        poisoned[name][unchosen] = np.nan
    return poisoned
