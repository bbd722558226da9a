"""Cases of the gated delta rule: keys that meet at any angle, gates that keep and forget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.oracles import Array, silu

__all__ = ["GATES", "KEYS", "Case", "make_case", "with_norm"]

Case = dict[str, Any]
Rng = np.random.Generator


def with_cosine(cosine: float) -> Callable[[Rng, tuple[int, ...]], Array]:
    """Keys of a sequence that meet at about this cosine, as neighbouring tokens' keys do."""

    def keys(rng: Rng, shape: tuple[int, ...]) -> Array:
        common, own = rng.normal(size=(shape[0], 1, *shape[2:])), rng.normal(size=shape)
        mixture: Array = np.sqrt(cosine) * common + np.sqrt(1 - cosine) * own
        return mixture

    return keys


KEYS: dict[str, Callable[[Rng, tuple[int, ...]], Array]] = {
    "random": with_cosine(0.0),
    "cosine 0.5": with_cosine(0.5),
    "cosine 0.8": with_cosine(0.8),
    "cosine 0.9": with_cosine(0.9),
    "cosine 0.99": with_cosine(0.99),
    "identical": with_cosine(1.0),
    "alternating": lambda rng, shape: (
        with_cosine(1.0)(rng, shape) * (-1.0) ** np.arange(shape[1])[:, None, None]
    ),
    "SiLU-shaped": lambda rng, shape: silu(rng.normal(size=shape)),
    "tiny": lambda rng, shape: rng.normal(size=shape) * 1e-3,  # norms where norm_eps decides
    "now and then zero": lambda rng, shape: (
        rng.normal(size=shape) * rng.integers(0, 2, (*shape[:3], 1))
    ),
    "zero": lambda rng, shape: np.zeros(shape),
}

Gates = Callable[[Rng, tuple[int, ...]], tuple[Array, Array]]


def around(log_decay: float, beta_logit: float) -> Gates:
    """Gates spread about these values, each token its own."""
    return lambda rng, shape: (
        log_decay * np.exp(rng.normal(size=shape)),
        beta_logit + rng.normal(size=shape),
    )


def mixed(rng: Rng, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Neighbouring tokens that keep everything, forget everything, overwrite and ignore."""
    keep, forget = [-1e-7, -1e-3, -0.1], [-2.0, -20.0, -150.0, -1e4]
    log_decay = rng.choice(keep + forget, shape, p=[0.4, 0.2, 0.2, 0.05, 0.05, 0.05, 0.05])
    return log_decay, rng.choice([-30.0, -5.0, 0.0, 5.0, 30.0], shape)


# Each gives (log decay, logit of beta) for every token and value head.
GATES: dict[str, Gates] = {
    "typical": around(-1.0, 0.0),
    "keep and overwrite": around(-1e-5, 14.0),
    "keep and ignore": around(-1e-5, -14.0),
    "forget at once": around(-1e4, 0.0),
    "underflow": around(-150.0, 0.0),
    "mixed": mixed,
}


def make_case(
    seed: int,
    *,
    T: int,
    keys: str = "random",
    gates: str = "typical",
    lengths: list[int] | None = None,
    heads: tuple[int, int] = (2, 4),
    dims: tuple[int, int] = (16, 12),
) -> Case:
    rng = np.random.default_rng(seed)
    lengths = [T] if lengths is None else lengths
    (Hk, Hv), (Dk, Dv), B = heads, dims, len(lengths)
    q = rng.normal(size=(B, T, Hk * Dk))
    k = KEYS[keys](rng, (B, T, Hk, Dk)).reshape(B, T, Hk * Dk)
    v = rng.normal(size=(B, T, Hv * Dv))
    log_decay, b = GATES[gates](rng, (B, T, Hv))
    A_log, dt_bias = rng.normal(size=(2, Hv))
    # Solve log_decay = -exp(A_log) * softplus(a + dt_bias) for a.
    rate = -log_decay / np.exp(A_log)
    a = rate + np.log(-np.expm1(-rate)) - dt_bias
    case = {
        "qkv": np.concatenate([q, k, v], axis=-1),
        "a": a,
        "b": b,
        "A_log": A_log,
        "dt_bias": dt_bias,
        "state": rng.normal(size=(B, Hv, Dk, Dv)),
    }
    single = {name: array.astype(np.float32) for name, array in case.items()}
    return single | {"lengths": np.array(lengths, np.int64)}


def with_norm(rule: Case, seed: int) -> Case:
    """The same with what the gated norm behind the rule reads."""
    rng = np.random.default_rng([seed, 1])
    (B, T, _), (_, Hv, _, Dv) = rule["qkv"].shape, rule["state"].shape
    return rule | {
        "z": rng.normal(size=(B, T, Hv * Dv)).astype(np.float32),
        "norm": rng.uniform(0.5, 1.5, size=Dv).astype(np.float32),
    }
