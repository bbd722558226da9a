"""What a manifest says of quantized weights: how each role is stored, and what that cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from deltaport.errors import EngineError
from deltaport.weight_format import WeightFormat, parse_format

__all__ = ["Loss", "Quantization", "RoleStorage"]

_ROLE_FIELDS: dict[str, type | None] = {
    "format": str,
    "parameters": int,
    "bytes": int,
    "bits_per_weight": float,
}
_MOST = 1 << 60


@dataclass(frozen=True)
class RoleStorage:
    """The matrices of one role; ``bytes`` are with scales and padding.

    A matrix of another role that was joined with them counts there, by its share of the weights.
    """

    format: WeightFormat
    parameters: int
    bytes: int

    @property
    def bits_per_weight(self) -> float:
        """What a weight takes on the disk and in memory."""
        return 8 * self.bytes / self.parameters

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; the format as recipes write it."""
        return {
            "format": str(self.format),
            "parameters": self.parameters,
            "bytes": self.bytes,
            "bits_per_weight": self.bits_per_weight,
        }


@dataclass(frozen=True)
class Loss:
    """What quantizing cost on a text, ``reference`` being the same engine without it.

    ``kl``: KL(reference || engine), in nats a token. ``top1``: the share of tokens where both think
    the same one the most likely. ``context``: the most tokens a prediction had before it.
    """

    tokens: int
    context: int
    reference_perplexity: float
    perplexity: float
    kl: float
    top1: float


@dataclass(frozen=True)
class Quantization:
    """``recipe``: its name; ``roles``: those it quantized; ``loss``: None where not measured."""

    recipe: str
    roles: Mapping[str, RoleStorage]
    loss: Loss | None = None

    @property
    def bits_per_weight(self) -> float:
        """The average over all weights that are quantized."""
        size = sum(role.bytes for role in self.roles.values())
        return 8 * size / sum(role.parameters for role in self.roles.values())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "recipe": self.recipe,
            "bits_per_weight": self.bits_per_weight,
            "roles": {name: role.to_json() for name, role in self.roles.items()},
            "loss": None if self.loss is None else asdict(self.loss),
        }

    @classmethod
    def from_json(cls, document: object, *, source: str) -> Quantization:
        """Parse and check; ``source`` names the manifest in errors. The document is untrusted."""
        found = _members(
            document,
            {"recipe": str, "bits_per_weight": float, "roles": dict, "loss": None},
            f"{source}: quantization",
        )
        roles = {
            name: _role(row, f"{source}: quantization.roles[{name!r:.60}]")
            for name, row in found["roles"].items()
        }
        if not roles:
            raise EngineError(f"{source}: quantization.roles is empty; export the engine again")
        loss = None if found["loss"] is None else _loss(found["loss"], source)
        return cls(found["recipe"], roles, loss)


def _is(value: object, kind: type | None) -> bool:
    if kind is float:  # a whole number is one, too, and none that no float can hold
        return type(value) in (int, float) and -_MOST < value < _MOST  # type: ignore[operator]
    return kind is None or type(value) is kind


def _role(row: object, where: str) -> RoleStorage:
    found = _members(row, _ROLE_FIELDS, where)
    for name in ("parameters", "bytes"):
        if not 0 < found[name] < _MOST:
            raise EngineError(f"{where}: {name} is {found[name]!r:.40}, expected a positive number")
    try:
        format_ = parse_format(found["format"])
    except ValueError as error:
        raise EngineError(f"{where}: format {error}") from None
    return RoleStorage(format_, found["parameters"], found["bytes"])


def _loss(document: object, source: str) -> Loss:
    kinds: dict[str, type | None] = {
        field.name: int if field.type == "int" else float for field in fields(Loss)
    }
    loss = Loss(**_members(document, kinds, f"{source}: quantization.loss"))
    for name in ("tokens", "context", "reference_perplexity", "perplexity"):
        if getattr(loss, name) <= 0:
            raise EngineError(
                f"{source}: quantization.loss: {name} is {getattr(loss, name)!r:.40}, expected a "
                "positive number"
            )
    return loss


def _members(document: object, kinds: Mapping[str, type | None], where: str) -> dict[str, Any]:
    """The members of an object, which are just these; a kind of None is looked at elsewhere."""
    if not isinstance(document, dict) or set(document) != set(kinds):
        raise EngineError(f"{where}: expected the fields {', '.join(kinds)}; export it again")
    for name, kind in kinds.items():
        value = document[name]
        if not _is(value, kind):
            expected = "a number" if kind in (int, float) else getattr(kind, "__name__", "")
            raise EngineError(f"{where}: {name} is {value!r:.60}, expected {expected}")
    return document
