"""Bytes a decode step has to read, by what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from deltaport.exporter.model_size import state_bytes_per_sequence, state_bytes_per_token
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.weight_memory import weight_bytes_per_step

__all__ = ["DecodeTraffic"]


@dataclass(frozen=True)
class DecodeTraffic:
    """Bytes read for each token of a step, the least that any implementation must read.

    ``weights``: those of the step, shared by its sequences. ``state``: convolution windows and
    recurrent matrices of a sequence. ``kv``: keys and values of the tokens before, and its own.
    """

    weights: float
    state: int
    kv: float

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        dtypes: Mapping[str, str],
        *,
        sequences: int,
        length: float,
        as_stored: bool = False,
    ) -> DecodeTraffic:
        """For ``sequences`` of ``length`` tokens each, parameters being stored as ``dtypes``.

        ``as_stored``: which is how they are read, too.
        """
        return cls(
            weights=weight_bytes_per_step(spec, dtypes, sequences, as_stored=as_stored) / sequences,
            state=state_bytes_per_sequence(spec),
            kv=state_bytes_per_token(spec) * length,
        )

    @property
    def total(self) -> float:
        """Bytes a token."""
        return self.weights + self.state + self.kv

    def to_json(self) -> dict[str, float]:
        """The parts and their ``total``."""
        return asdict(self) | {"total": self.total}
