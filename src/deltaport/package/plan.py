"""What a manifest says of a plan: the file TensorRT made of the graph, and what it is good for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from deltaport.errors import EngineError

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """``file``: one of the manifest's files; ``builder``: what made it, with its version.

    ``gpu``: a compute capability such as ``sm89``, or ``this`` for that of the machine it was built
    on. The plan runs decode steps of up to ``slots`` sequences, and prefill steps of up to
    ``prefill_tokens`` tokens of one; its caches hold ``capacity`` tokens a sequence.
    """

    file: str
    builder: str
    gpu: str
    slots: int
    prefill_tokens: int
    capacity: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object, *, source: str) -> Plan:
        """Parse and check; ``source`` names the manifest in errors. The document is untrusted."""
        where, kinds = f"{source}: plan", {field.name: field.type for field in fields(cls)}
        if not isinstance(document, dict) or set(document) != set(kinds):
            raise EngineError(f"{where}: expected the fields {', '.join(kinds)}")
        for name, kind in kinds.items():
            value = document[name]
            if kind == "str":
                if type(value) is not str or not value.isprintable() or not value:
                    raise EngineError(f"{where}.{name} is {value!r:.40}, expected text")
            elif type(value) is not int or not 0 < value < 2**31:
                raise EngineError(f"{where}.{name} is {value!r:.40}, expected a positive integer")
        return cls(**document)
