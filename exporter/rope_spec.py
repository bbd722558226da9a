"""Rotary position embeddings of Qwen3.5: partial, interleaved three-axis (mRoPE), default or YaRN.

Only the first ``rotary_dim`` of ``head_dim`` components rotate. Frequency ``i`` rotates components
``i`` and ``i + rotary_dim / 2`` by an angle that is position times inverse frequency, where the
position is the token's temporal, height or width coordinate (all three equal for text).

Source: ``Qwen3_5TextRotaryEmbedding`` and ``_compute_yarn_parameters`` of transformers 5.23, and
the YaRN paper (arXiv 2309.00071).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from deltaport.exporter.config_fields import Fields, names_in, show

__all__ = ["RopeSpec", "RopeType", "YarnSpec"]

RopeType = Literal["default", "yarn"]

_DEFAULT_THETA = 10_000.0
_DEFAULT_PARTIAL_ROTARY_FACTOR = 0.25
_DEFAULT_MROPE_SECTION = (11, 11, 10)
_BETA_FAST, _BETA_SLOW = 32.0, 1.0

_SHARED_NAMES = names_in(
    "mrope_interleaved mrope_section partial_rotary_factor rope_theta rope_type type"
)
_YARN_NAMES = names_in(
    """
    attention_factor beta_fast beta_slow factor mscale mscale_all_dim
    original_max_position_embeddings truncate
    """
)


@dataclass(frozen=True)
class YarnSpec:
    """YaRN context extension: low frequencies are divided by ``factor``, high ones kept.

    Between ``beta_fast`` and ``beta_slow`` rotations over the original context (of
    ``original_max_position_embeddings`` tokens) the two are blended linearly.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = _BETA_FAST
    beta_slow: float = _BETA_SLOW
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    @classmethod
    def read(cls, rope: Fields) -> YarnSpec:
        """Read the YaRN fields of ``rope_parameters``; null optional fields count as absent."""

        def optional(name: str, *, above: float | None = None) -> float | None:
            if rope.get(name) is None:
                return None
            return rope.number(name, above=above, least=None if above is not None else 0, most=1e6)

        # transformers reads a zero beta as "use the default".
        fast, slow = optional("beta_fast") or _BETA_FAST, optional("beta_slow") or _BETA_SLOW
        if slow < 1e-6:
            raise rope.reject("beta_slow", "a number of at least 1e-06")
        if fast < slow:
            raise rope.error("beta_fast", f"is {fast:g}; expected at least beta_slow ({slow:g})")
        return cls(
            factor=rope.number("factor", least=1, most=1e6),
            original_max_position_embeddings=rope.size("original_max_position_embeddings"),
            beta_fast=fast,
            beta_slow=slow,
            attention_factor=optional("attention_factor", above=0),
            mscale=optional("mscale"),
            mscale_all_dim=optional("mscale_all_dim"),
            truncate=rope.flag("truncate", default=True),
        )

    @property
    def attention_scaling(self) -> float:
        """Factor on cosine and sine, so its square acts on attention scores."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._mscale(self.mscale) / self._mscale(self.mscale_all_dim)
        return self._mscale(1.0)

    def _mscale(self, weight: float) -> float:
        return 1.0 if self.factor <= 1 else 0.1 * weight * math.log(self.factor) + 1.0

    def ramp(self, *, rotary_dim: int, theta: float) -> tuple[float, float]:
        """Frequency indices between which interpolation takes over from extrapolation."""
        low = self._dimension_of(self.beta_fast, rotary_dim, theta)
        high = self._dimension_of(self.beta_slow, rotary_dim, theta)
        if self.truncate:
            low, high = float(math.floor(low)), float(math.ceil(high))
        low, high = max(low, 0.0), min(high, rotary_dim - 1.0)
        return low, high if high != low else high + 0.001

    def _dimension_of(self, rotations: float, rotary_dim: int, theta: float) -> float:
        """The (fractional) component that turns ``rotations`` times in the original context."""
        tokens_per_turn = self.original_max_position_embeddings / (rotations * 2 * math.pi)
        return rotary_dim * math.log(tokens_per_turn) / (2 * math.log(theta))

    def to_json(self) -> dict[str, object]:
        """The fields of ``rope_parameters`` that :meth:`read` reads."""
        fields = {name: getattr(self, name) for name in sorted(_YARN_NAMES)}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class RopeSpec:
    """Rotary embedding of the full-attention layers.

    ``mrope_section`` is (temporal, height, width) frequency counts as written in the file; see
    :meth:`axis_of_frequency` for what they do. ``yarn`` is None for the default type.
    """

    theta: float
    rotary_dim: int
    mrope_section: tuple[int, int, int] = _DEFAULT_MROPE_SECTION
    yarn: YarnSpec | None = None

    @classmethod
    def read(cls, text: Fields, *, head_dim: int) -> RopeSpec:
        """Read ``rope_parameters``, or the older ``rope_scaling`` with its top-level companions.

        Inside the object wins over ``rope_theta`` and ``partial_rotary_factor`` beside it, as in
        transformers; absent everywhere they are 10000 and 0.25.

        Raises ConfigError when a field is unknown, of the wrong type or range, or unsupported.
        """
        rope = _rope_object(text)
        rope_type = _read_type(rope)
        _check_names(rope, rope_type)
        theta = _inner_or_outer(rope, text, "rope_theta").number(
            "rope_theta", above=1, most=1e30, default=_DEFAULT_THETA
        )
        fraction_owner = _inner_or_outer(rope, text, "partial_rotary_factor")
        fraction = fraction_owner.number(
            "partial_rotary_factor", above=0, most=1, default=_DEFAULT_PARTIAL_ROTARY_FACTOR
        )
        rotary_dim = int(head_dim * fraction)
        if rotary_dim < 2 or rotary_dim % 2:
            raise fraction_owner.error(
                "partial_rotary_factor",
                f"({fraction:g}) rotates {rotary_dim} of head_dim {head_dim} components; "
                "expected an even number of at least 2",
            )
        yarn = YarnSpec.read(rope) if rope_type == "yarn" else None
        return cls(theta, rotary_dim, _read_section(rope), yarn)

    @property
    def type(self) -> RopeType:
        """``"yarn"`` or ``"default"``."""
        return "default" if self.yarn is None else "yarn"

    @property
    def attention_scaling(self) -> float:
        """Factor on cosine and sine: 1.0 for the default type, YaRN's otherwise."""
        return 1.0 if self.yarn is None else self.yarn.attention_scaling

    def axis_of_frequency(self) -> tuple[int, ...]:
        """Which position (0 temporal, 1 height, 2 width) drives each of the frequencies.

        Interleaved: of every three frequencies the second is height's and the third width's, up
        to three times the axis's section; the rest is temporal. Where sections do not add up to
        rotary_dim / 2 that rule still holds (the temporal count is never looked at), because the
        reference does not check it either.
        """
        axes = [0] * (self.rotary_dim // 2)
        for axis in (1, 2):
            for i in range(axis, min(3 * self.mrope_section[axis], len(axes)), 3):
                axes[i] = axis
        return tuple(axes)

    def to_json(self, *, head_dim: int) -> dict[str, object]:
        """A ``rope_parameters`` object that :meth:`read` reads back to an equal spec."""
        fraction = self.rotary_dim / head_dim
        if int(head_dim * fraction) < self.rotary_dim:  # the quotient was rounded down
            fraction = math.nextafter(fraction, 1.0)
        shared: dict[str, object] = {
            "mrope_interleaved": True,
            "mrope_section": list(self.mrope_section),
            "partial_rotary_factor": fraction,
            "rope_theta": self.theta,
            "rope_type": self.type,
        }
        return shared if self.yarn is None else shared | self.yarn.to_json()


def _rope_object(text: Fields) -> Fields:
    names = [name for name in ("rope_parameters", "rope_scaling") if text.get(name)]
    if len(names) == 2:
        # transformers would drop rope_parameters whole, its rope_theta included.
        raise text.error("rope_scaling", "is given beside rope_parameters; expected one of them")
    if names:
        return text.child(names[0])
    for name in ("rope_parameters", "rope_scaling"):
        if text.get(name) is not None:
            return text.child(name)  # empty, or falsy and not an object
    return Fields({}, source=text.source, prefix=f"{text.prefix}rope_parameters.")


def _inner_or_outer(rope: Fields, text: Fields, name: str) -> Fields:
    return rope if name in rope else text


def _read_type(rope: Fields) -> RopeType:
    names = [name for name in ("rope_type", "type") if name in rope]
    found = [rope.text(name) for name in names]
    if len(set(found)) > 1:
        raise rope.error("type", f"is {show(found[1])} but rope_type is {show(found[0])}")
    if not found or found[0] == "default":
        return "default"
    if found[0] == "yarn":
        return "yarn"
    raise rope.error(names[0], f'is {show(found[0])}; only "default" and "yarn" are supported')


def _check_names(rope: Fields, rope_type: RopeType) -> None:
    for name, value in rope.values.items():
        if name in _YARN_NAMES:
            if rope_type != "yarn" and value is not None:
                raise rope.error(
                    name, 'is set, but rope_type is "default"; expected "yarn" or null'
                )
        elif name not in _SHARED_NAMES:
            raise rope.error(str(name), "is not a rope field deltaport knows; remove it")
    if rope.flag("mrope_interleaved", default=True) is False:
        raise rope.error("mrope_interleaved", "is false; only true is supported")


def _read_section(rope: Fields) -> tuple[int, int, int]:
    if "mrope_section" not in rope:
        return _DEFAULT_MROPE_SECTION
    section = [n for n in rope.items("mrope_section") if type(n) is int and 0 <= n < 2**31]
    if len(section) != 3 or len(rope.items("mrope_section")) != 3:
        raise rope.error("mrope_section", "is malformed; expected three non-negative integers")
    return section[0], section[1], section[2]
