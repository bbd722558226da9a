"""The contract between compiler and runtime: which tensors an engine carries from step to step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from deltaport.errors import EngineError

__all__ = [
    "CAPACITY",
    "SLOTS",
    "STATE_DTYPES",
    "StateKind",
    "StateLayout",
    "StateTensor",
    "StateUpdate",
]

SLOTS = "slots"
"""Name of the leading dimension of every state tensor: one slot a sequence."""
CAPACITY = "capacity"
"""Name of the dimension that bounds how many tokens a key/value cache holds."""

STATE_DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""What state may be stored in, and the bytes of an element."""

NAME_LIMIT = 200
"""Characters the name of a tensor may have: far above any real one."""

StateKind = Literal["kv", "conv", "recurrent"]
StateUpdate = Literal["in_place", "swap"]


@dataclass(frozen=True)
class StateTensor:
    """One carried tensor.

    ``shape`` holds sizes and the names :data:`SLOTS` and :data:`CAPACITY`; slots lead.
    ``update`` says whether the graph may read ``input`` from and write ``output`` to one buffer
    (``in_place``) or needs two that are exchanged each step (``swap``).
    ``rewindable``: dropping the last tokens of a sequence needs nothing but a shorter length.
    """

    layer: int
    kind: StateKind
    input: str
    output: str
    shape: tuple[int | str, ...]
    dtype: str
    update: StateUpdate
    rewindable: bool

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return STATE_DTYPES[self.dtype]

    def concrete_shape(self, slots: int, capacity: int) -> tuple[int, ...]:
        """The shape for ``slots`` sequences of up to ``capacity`` tokens."""
        sizes = {SLOTS: slots, CAPACITY: capacity}
        return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in self.shape)


@dataclass(frozen=True)
class StateLayout:
    """All carried tensors of an engine, in graph order."""

    tensors: tuple[StateTensor, ...]

    def __iter__(self) -> Iterator[StateTensor]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    @property
    def activation_dtype(self) -> str:
        """What an engine with this state computes in: caches and windows hold activations."""
        return next((tensor.dtype for tensor in self if tensor.kind != "recurrent"), "float32")

    def to_json(self) -> list[dict[str, Any]]:
        """Plain rows for the manifest."""
        return [asdict(tensor) | {"shape": list(tensor.shape)} for tensor in self.tensors]

    @classmethod
    def from_json(cls, rows: object, *, source: str) -> StateLayout:
        """Rebuild and check the rows of a manifest; ``source`` names it in errors."""
        if not isinstance(rows, list):
            raise EngineError(f"{source}: state is not a list; export the engine again")
        layout = cls(tuple(_row(row, f"{source}: state[{i}]") for i, row in enumerate(rows)))
        names = [name for tensor in layout for name in (tensor.input, tensor.output)]
        if len(set(names)) != len(names):
            raise EngineError(f"{source}: state names a tensor twice; export the engine again")
        return layout


def _row(row: object, where: str) -> StateTensor:
    expected = {
        "layer": int,
        "kind": str,
        "input": str,
        "output": str,
        "shape": list,
        "dtype": str,
        "update": str,
        "rewindable": bool,
    }
    if not isinstance(row, Mapping) or set(row) != set(expected):
        raise EngineError(f"{where}: expected the fields {', '.join(expected)}")
    for name, kind in expected.items():
        if type(row[name]) is not kind:
            raise EngineError(f"{where}.{name}: expected {kind.__name__}, found {row[name]!r:.60}")
    if row["kind"] not in get_args(StateKind) or row["update"] not in get_args(StateUpdate):
        raise EngineError(
            f"{where}: unknown kind {row['kind']!r:.40} or update {row['update']!r:.40}"
        )
    if row["dtype"] not in STATE_DTYPES:
        raise EngineError(
            f"{where}.dtype: expected {', '.join(STATE_DTYPES)}, found {row['dtype']!r:.40}"
        )
    if row["layer"] < 0:
        raise EngineError(f"{where}.layer: expected 0 or more, found {row['layer']!r:.40}")
    for end in ("input", "output"):
        # They are shown in errors, so they must be what a terminal can take.
        if not row[end].isprintable() or not 0 < len(row[end]) <= NAME_LIMIT:
            raise EngineError(
                f"{where}.{end}: expected a printable name of at most {NAME_LIMIT} characters, "
                f"found {row[end]!r:.60}"
            )
    return StateTensor(**{**row, "shape": _shape(row["kind"], row["shape"], where)})


def _shape(kind: StateKind, shape: Sequence[object], where: str) -> tuple[int | str, ...]:
    for dim in shape:
        if dim not in (SLOTS, CAPACITY) and (type(dim) is not int or not 0 < dim < 2**31):
            raise EngineError(
                f"{where}.shape: expected sizes, {SLOTS} or {CAPACITY}, found {dim!r:.40}"
            )
    if len(shape) < 2 or shape[0] != SLOTS or SLOTS in shape[1:]:
        raise EngineError(f"{where}.shape: expected {SLOTS} as the leading dimension only")
    if shape.count(CAPACITY) != (kind == "kv"):
        times = "once" if kind == "kv" else "nowhere"
        raise EngineError(f"{where}.shape: expected {CAPACITY} {times} in a state of kind {kind}")
    return tuple(cast("Sequence[int | str]", shape))
