"""From canonical parameter names to recipes over the tensors a checkpoint really has.

Canonical names are those of the transformers text models (``Qwen3_5ForCausalLM``,
``Qwen3_5MoeForCausalLM``). Published checkpoints differ in two ways: the text model may be wrapped
in a vision-language one (``model.language_model.layers...``), and experts may be stored one by one,
which transformers fuses on loading (gate rows first, then up rows). A checkpoint is accepted only
if every tensor in it is accounted for.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from deltaport.errors import CheckpointError
from deltaport.exporter.checkpoint import Checkpoint
from deltaport.exporter.safetensors_file import DTYPES
from deltaport.graph_passes.recipes.evaluate_recipe import pieces
from deltaport.graph_passes.recipes.layout_recipes import Concat, Stack
from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.strict_json import quote

__all__ = ["Binding", "bind"]

_PLAIN, _WRAPPED = "model.", "model.language_model."
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
#: Parts of published checkpoints that a text engine leaves out, by the start of their names.
_LEFT_OUT = {"vision": "model.visual.", "mtp": "mtp."}
_FUSED = re.compile(r"(?P<stem>.+\.mlp\.experts)\.(?P<kind>gate_up_proj|down_proj)")
_ONE_BY_ONE = re.compile(r"(.+\.mlp\.experts)\.[0-9]+\.(gate|up|down)_proj\.weight")

_Shape = tuple[int, ...]


@dataclass(frozen=True)
class Binding:
    """How every parameter is made, and what of the checkpoint is deliberately not exported.

    ``recipes`` maps canonical names to recipes of the canonical shape, in the checkpoint's dtype.
    ``not_exported`` lists tensor names under ``"vision"``, ``"mtp"`` and ``"tied"`` (an output head
    equal to the embedding), each possibly empty. ``prefix`` is what the checkpoint writes for
    ``model.``.
    """

    recipes: dict[str, Recipe]
    not_exported: dict[str, list[str]]
    prefix: str


def bind(shapes: Mapping[str, _Shape], checkpoint: Checkpoint, *, tied: bool) -> Binding:
    """Find a recipe for every canonical name in ``shapes`` among the checkpoint's tensors.

    With ``tied`` the output head is the embedding: ``shapes`` has no ``lm_head.weight``, and a
    checkpoint that stores one all the same must repeat the embedding exactly. Raises
    :class:`CheckpointError` naming the tensor if one is missing, left over, of another shape or
    of a dtype other than F32, F16 and BF16, or if two naming schemes are mixed.
    """
    if tied and _HEAD in shapes:
        raise ValueError(f"{_HEAD} has a shape of its own although it is tied")
    not_exported, text = _sort(checkpoint.names(), tied)
    prefix = _find_prefix(shapes, text, checkpoint)
    _check_dtypes([*text, *not_exported["tied"]], checkpoint)

    present = set(text)
    by_one = Counter(
        (found[1], found[2] == "down") for n in text if (found := _ONE_BY_ONE.fullmatch(n))
    )
    plans = {}
    for canonical, shape in shapes.items():
        name = canonical if canonical == _HEAD else prefix + canonical.removeprefix(_PLAIN)
        fused = _FUSED.fullmatch(name)
        held = by_one[fused["stem"], fused["kind"] == "down_proj"] if fused else 0
        if fused and held and name not in present:
            # One expert more than there can be will be missed; no need to list billions.
            bounded = (min(shape[0], held + 1), *shape[1:])
            plans[canonical] = _plan_experts(fused["stem"], fused["kind"], bounded)
        else:
            plans[canonical] = [[(name, tuple(shape))]]
    wanted = {name: s for plan in plans.values() for parts in plan for name, s in parts}
    _check_names(wanted, text, checkpoint)
    _check_shapes(wanted, checkpoint)

    recipes = {canonical: _make(plan, checkpoint) for canonical, plan in plans.items()}
    if not_exported["tied"]:
        _check_tied(recipes[_EMBEDDING], checkpoint)
    return Binding(recipes, not_exported, prefix)


def _sort(names: Iterable[str], tied: bool) -> tuple[dict[str, list[str]], list[str]]:
    """Split names into those left out, by kind, and those of the text model."""
    not_exported: dict[str, list[str]] = {kind: [] for kind in (*_LEFT_OUT, "tied")}
    text: list[str] = []
    for name in names:
        kind = next((k for k, start in _LEFT_OUT.items() if name.startswith(start)), None)
        if kind is None and tied and name == _HEAD:
            kind = "tied"
        (text if kind is None else not_exported[kind]).append(name)
    return not_exported, text


def _find_prefix(shapes: Iterable[str], text: list[str], checkpoint: Checkpoint) -> str:
    """Tell the plain from the wrapped naming by the modules directly below the prefix."""
    roots = set()
    for canonical in shapes:
        if canonical != _HEAD:
            if not canonical.startswith(_PLAIN):
                raise ValueError(f"{canonical!r} is not a canonical text-model name")
            roots.add(canonical.split(".")[1])

    def first(prefix: str) -> str | None:
        starts = tuple(f"{prefix}{root}." for root in roots)
        return next((name for name in text if name.startswith(starts)), None)

    plain, wrapped = first(_PLAIN), first(_WRAPPED)
    if plain is not None and wrapped is not None:
        raise CheckpointError(
            f"{checkpoint.folder}: mixes the prefixes {_PLAIN} (tensor {quote(plain)}) and "
            f"{_WRAPPED} (tensor {quote(wrapped)}), expected one; keep the files of one model only"
        )
    return _PLAIN if wrapped is None else _WRAPPED


def _check_dtypes(names: Iterable[str], checkpoint: Checkpoint) -> None:
    for name in names:
        dtype = checkpoint.entry(name).dtype
        if dtype not in DTYPES:
            raise CheckpointError(
                f"{checkpoint.folder}: tensor {quote(name)} has dtype {dtype}, expected one of "
                f"{', '.join(DTYPES)}; quantized checkpoints are not supported: use the original"
            )


def _plan_experts(stem: str, kind: str, shape: _Shape) -> list[list[tuple[str, _Shape]]]:
    """List per expert the tensors that make up its rows of the fused tensor."""
    experts, rows, columns = shape
    halves = ["gate_proj", "up_proj"] if kind == "gate_up_proj" else ["down_proj"]
    if rows % len(halves):
        raise ValueError(f"{stem}.{kind}: {rows} rows are not gate and up rows alike")
    part = (rows // len(halves), columns)
    return [[(f"{stem}.{e}.{half}.weight", part) for half in halves] for e in range(experts)]


def _check_names(wanted: Mapping[str, _Shape], text: list[str], checkpoint: Checkpoint) -> None:
    present = set(text)
    missing = [name for name in wanted if name not in present]
    extra = [name for name in text if name not in wanted]
    if missing:
        more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
        near = _nearest(missing[0], extra)
        hint = f" (the nearest name it has is {quote(near)})" if near else ""
        raise CheckpointError(
            f"{checkpoint.folder}: tensor {quote(missing[0])}{more} missing{hint}, expected by "
            "config.json; check that the configuration and the weights are of the same model"
        )
    if extra:
        named = ", ".join(quote(name) for name in extra[:3]) + (", ..." if extra[3:] else "")
        raise CheckpointError(
            f"{checkpoint.folder}: {len(extra)} tensors are left over: {named}; expected none "
            "beyond those config.json describes; check that both are of the same model"
        )


def _nearest(name: str, candidates: list[str]) -> str | None:
    """Return the candidate a typo or a foreign prefix away from ``name``, if there is one."""

    def alike(one: str, other: str) -> int:
        return sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
        )

    def shared(other: str) -> int:
        return alike(name, other) + alike(name[::-1], other[::-1])

    # difflib is slow on tens of thousands of names, so it only sees the likely ones.
    likely = sorted(candidates, key=shared, reverse=True)[:50]
    return next(iter(difflib.get_close_matches(name, likely, n=1, cutoff=0.8)), None)


def _check_shapes(wanted: Mapping[str, _Shape], checkpoint: Checkpoint) -> None:
    for name, shape in wanted.items():
        found = checkpoint.entry(name).shape
        if found != shape:
            raise CheckpointError(
                f"{checkpoint.folder}: tensor {quote(name)} has shape {list(found)}, expected "
                f"{list(shape)} by config.json; check that both are of the same model"
            )


def _make(plan: list[list[tuple[str, _Shape]]], checkpoint: Checkpoint) -> Recipe:
    """Stack the experts of a plan, or return its only tensor."""
    if len(plan) == 1 and len(plan[0]) == 1 and not _ONE_BY_ONE.fullmatch(plan[0][0][0]):
        return _source(plan[0][0][0], checkpoint)
    first = checkpoint.entry(plan[0][0][0])
    for name, _ in (part for parts in plan for part in parts):
        dtype = checkpoint.entry(name).dtype
        if dtype != first.dtype:
            raise CheckpointError(
                f"{checkpoint.folder}: tensor {quote(name)} has dtype {dtype}, expected "
                f"{first.dtype} as {quote(first.name)}; save all experts in one dtype"
            )
    rows = [tuple(_source(name, checkpoint) for name, _ in parts) for parts in plan]
    return Stack(tuple(parts[0] if len(parts) == 1 else Concat(parts, 0) for parts in rows))


def _source(name: str, checkpoint: Checkpoint) -> Source:
    entry = checkpoint.entry(name)
    return Source(name, entry.shape, DTYPES[entry.dtype])


def _check_tied(embedding: Recipe, checkpoint: Checkpoint) -> None:
    """Compare a stored head with the embedding: transformers does not tie two that differ."""
    head = _source(_HEAD, checkpoint)
    names = [*embedding.sources(), _HEAD]
    same = head.shape == embedding.shape
    for region in pieces(head.shape, 4, 16 << 20) if same else ():
        ours, theirs = (r.read(checkpoint, region).astype(np.float32) for r in (embedding, head))
        same = same and np.array_equal(ours, theirs, equal_nan=True)
        for name in names:
            checkpoint.release(name)
    if not same:
        raise CheckpointError(
            f"{checkpoint.folder}: tensor {_HEAD!r} differs from {names[0]!r}, expected them equal "
            "as config.json ties them; if the head is wanted, set tie_word_embeddings to false"
        )
