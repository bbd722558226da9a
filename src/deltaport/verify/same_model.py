"""Whether an engine and a checkpoint are of the same model at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deltaport.errors import EngineError, InputError
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.state_layout_of_spec import state_layout_of_spec
from deltaport.package import MANIFEST_NAME, Manifest
from deltaport.strict_json import quote

__all__ = ["check_same_model"]


def check_same_model(manifest: Manifest, checkpoint: ModelSpec, *, at: Path, against: Path) -> None:
    """Raise ``InputError`` naming the first field of the text model in which the two differ.

    How a configuration wraps the text model, what else it holds, and which tokens end a text are
    not part of what is compared. Raises ``EngineError`` where a manifest is at odds with itself.
    """
    engine = ModelSpec.from_json(manifest.model, source=str(at / MANIFEST_NAME))
    ours, theirs = (_flat(_text_fields(spec)) for spec in (engine, checkpoint))
    for name in sorted({*ours, *theirs}, key=list({**ours, **theirs}).index):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"{at}: is not made from {against}: its {name} is {quote(ours.get(name))}, the "
                f"checkpoint's is {quote(theirs.get(name))}; give the checkpoint it was exported "
                "from, or export this one"
            )

    # What the oracle gives is looked up by these names, and cut as these shapes say.
    promised = [(t.layer, t.kind, t.input, t.shape) for t in state_layout_of_spec(engine)]
    if [(t.layer, t.kind, t.input, t.shape) for t in manifest.state] != promised:
        raise EngineError(
            f"{at / MANIFEST_NAME}: state is not that of the model it describes; export the "
            "engine again"
        )


def _text_fields(spec: ModelSpec) -> dict[str, object]:
    text = replace(spec, wrapped=False, has_vision=False, mtp_layers=0, eos_token_ids=())
    return text.to_json()


def _flat(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Fields of nested objects under dotted names."""
    flat: dict[str, object] = {}
    for name, value in fields.items():
        flat |= (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {prefix + name: value}
        )
    return flat
