"""What a Qwen3.5 ``config.json`` says about the model, validated.

Defaults: a missing field takes transformers' default for the model type, except the fields that
define a shape or the routing width (``num_experts_per_tok``). Those must be there: a guess would
show up as a confusing weight-shape error at best and as wrong output at worst.

Source: configuration files of transformers 5.23 (qwen3_5, qwen3_5_moe).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deltaport.exporter.config_fields import MAX_SIZE, Fields, is_folder, load_json_object, show
from deltaport.exporter.config_rules import Family, check_architectures, check_fields, family_of
from deltaport.exporter.layer_specs import (
    AttentionSpec,
    DenseMlpSpec,
    LinearAttentionSpec,
    SparseMoeSpec,
)
from deltaport.exporter.rope_spec import RopeSpec

__all__ = [
    "AttentionSpec",
    "DenseMlpSpec",
    "LayerKind",
    "LinearAttentionSpec",
    "ModelSpec",
    "RopeSpec",
    "SparseMoeSpec",
]

LayerKind = Literal["linear_attention", "full_attention"]

_MAX_LAYERS = 10_000  # far above any model, low enough that one tuple entry a layer is nothing


@dataclass(frozen=True)
class ModelSpec:
    """A Qwen3.5-family language model. Make one with the class methods: they validate.

    ``model_type`` is the text model's (``qwen3_5_text`` or ``qwen3_5_moe_text``); ``wrapped``
    tells whether the file nests it in a vision-language configuration, and ``has_vision`` whether
    that describes a vision tower. ``mtp_layers`` counts multi-token-prediction layers, which hold
    weights in the checkpoint but take no part in the model's own output. ``eos_token_ids`` are
    those of this file; ``generation_config`` tells which ones a generation ends with.
    """

    model_type: str
    wrapped: bool
    vocab_size: int
    hidden_size: int
    num_layers: int
    layer_kinds: tuple[LayerKind, ...]
    rms_norm_eps: float
    tie_word_embeddings: bool
    attention: AttentionSpec
    linear_attention: LinearAttentionSpec
    mlp: DenseMlpSpec | SparseMoeSpec
    rope: RopeSpec
    max_position_embeddings: int
    mtp_layers: int
    has_vision: bool
    eos_token_ids: tuple[int, ...]

    @classmethod
    def from_checkpoint(cls, path: Path, *, accept_fields: Collection[str] = ()) -> ModelSpec:
        """Read a checkpoint folder's ``config.json``, or that file itself.

        Raises ConfigError as :meth:`from_config` does, and when the file is missing or not a JSON
        object.
        """
        file = path / "config.json" if is_folder(path) else path
        config = load_json_object(file)
        return cls.from_config(config, source=str(file), accept_fields=accept_fields)

    @classmethod
    def from_config(
        cls, config: Mapping[str, object], *, source: str, accept_fields: Collection[str] = ()
    ) -> ModelSpec:
        """Read an already parsed ``config.json``; errors name ``source`` as the file.

        ``accept_fields`` are unknown fields to ignore although they are set, spelled as the error
        about them spells them. Raises ConfigError when a field is missing, malformed, unsupported,
        or unknown and set.
        """
        return _read(_object(config, source), accept_fields)

    @classmethod
    def from_json(cls, data: Mapping[str, object], *, source: str) -> ModelSpec:
        """Read what :meth:`to_json` wrote, with the same checks as a checkpoint's file.

        Raises ConfigError when ``data`` is invalid or not what :meth:`to_json` would write.
        """
        fields = _object(data, source)
        spec = _read(fields, None)
        written = spec.to_json()
        for name in sorted({*written, *data}):
            if name not in written or name not in data or written[name] != data[name]:
                raise fields.error(name, "is not as deltaport writes it; export the model again")
        return spec

    def to_json(self) -> dict[str, object]:
        """A minimal, normalised ``config.json`` of plain JSON types, with every default spelt out.

        Being a ``config.json``, it is read by the same code and can be compared with a checkpoint.
        """
        text: dict[str, object] = {
            "model_type": self.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "layer_types": list(self.layer_kinds),
            "rms_norm_eps": self.rms_norm_eps,
            **self.attention.to_json(),
            **self.linear_attention.to_json(),
            **self.mlp.to_json(),
            "rope_parameters": self.rope.to_json(head_dim=self.attention.head_dim),
            "max_position_embeddings": self.max_position_embeddings,
            "mtp_num_hidden_layers": self.mtp_layers,
        }
        shared: dict[str, object] = {
            "eos_token_id": list(self.eos_token_ids),
            "tie_word_embeddings": self.tie_word_embeddings,
        }
        if not self.wrapped:
            return text | shared
        outer_type = self.model_type.removesuffix("_text")
        outer: dict[str, object] = {"model_type": outer_type, "text_config": text, **shared}
        return outer | {"vision_config": {}} if self.has_vision else outer

    @property
    def is_moe(self) -> bool:
        """Whether every layer's MLP is a sparse mixture of experts."""
        return isinstance(self.mlp, SparseMoeSpec)

    @property
    def max_positions(self) -> int:
        """Tokens a sequence may have, the extension by YaRN included.

        Who extends a context adds rope parameters and as a rule leaves ``max_position_embeddings``
        as it was. transformers enforces neither number.
        """
        yarn = self.rope.yarn
        if yarn is None:
            return self.max_position_embeddings
        extended = int(yarn.factor * yarn.original_max_position_embeddings)
        return max(self.max_position_embeddings, min(extended, MAX_SIZE))

    def layers_of(self, kind: LayerKind) -> tuple[int, ...]:
        """Indices of the layers of one kind, ascending."""
        return tuple(i for i, found in enumerate(self.layer_kinds) if found == kind)


def _object(value: object, source: str) -> Fields:
    if not isinstance(value, Mapping):
        # Fields names a field in every error; here the whole value is wrong.
        raise Fields({}, source=source).error("content", f"is {show(value)}; expected an object")
    return Fields(value, source=source)


def _read(config: Fields, accept_fields: Collection[str] | None) -> ModelSpec:
    family = family_of(config)
    check_architectures(config, family)
    text = config
    if family.wrapped:
        check_fields(config, family, wrapper=True, accept_fields=accept_fields)
        text = config.child("text_config")
        if "model_type" in text and text.get("model_type") != family.text_type:
            raise text.reject("model_type", show(family.text_type))
    check_fields(text, family, wrapper=False, accept_fields=accept_fields)
    return _read_text(config, text, family)


def _read_text(config: Fields, text: Fields, family: Family) -> ModelSpec:
    num_layers = text.size("num_hidden_layers", most=_MAX_LAYERS)
    attention = AttentionSpec.read(text)
    has_vision = family.wrapped and config.get("vision_config") is not None
    if has_vision:
        config.child("vision_config")  # must be an object; the text engine reads nothing of it
    vocab_size = text.size("vocab_size")
    # Of a wrapped file the outer field decides, where it is given.
    eos_owner = config if config.get("eos_token_id") is not None else text
    return ModelSpec(
        model_type=family.text_type,
        wrapped=family.wrapped,
        vocab_size=vocab_size,
        hidden_size=text.size("hidden_size"),
        num_layers=num_layers,
        layer_kinds=_layer_kinds(text, num_layers),
        rms_norm_eps=text.number("rms_norm_eps", above=0, most=1, default=1e-6),
        # Of a wrapped file transformers' class reads this from the outer object alone: text_config
        # may say true, and nothing is tied.
        tie_word_embeddings=config.flag("tie_word_embeddings", default=False),
        attention=attention,
        linear_attention=LinearAttentionSpec.read(text),
        mlp=SparseMoeSpec.read(text) if family.is_moe else DenseMlpSpec.read(text),
        rope=RopeSpec.read(text, head_dim=attention.head_dim),
        max_position_embeddings=text.size("max_position_embeddings", default=32768),
        mtp_layers=text.size("mtp_num_hidden_layers", default=0, least=0, most=_MAX_LAYERS),
        has_vision=has_vision,
        eos_token_ids=eos_owner.token_ids("eos_token_id", vocab_size=vocab_size) or (),
    )


def _layer_kinds(text: Fields, num_layers: int) -> tuple[LayerKind, ...]:
    if text.get("layer_types") is None:
        every = text.size("full_attention_interval", default=4)
        return tuple(
            "linear_attention" if (i + 1) % every else "full_attention" for i in range(num_layers)
        )
    # As in transformers, full_attention_interval is not looked at when the list is given.
    kinds: list[LayerKind] = []
    for i, value in enumerate(text.items("layer_types")):
        if value == "linear_attention":
            kinds.append("linear_attention")
        elif value == "full_attention":
            kinds.append("full_attention")
        else:
            expected = 'expected "linear_attention" or "full_attention"'
            raise text.error(f"layer_types[{i}]", f"is {show(value)}; {expected}")
    if len(kinds) != num_layers:
        expected = f"expected num_hidden_layers ({num_layers}) of them"
        raise text.error("layer_types", f"has {len(kinds)} entries; {expected}")
    return tuple(kinds)
