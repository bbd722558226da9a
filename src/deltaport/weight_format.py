"""How a weight is stored as codes of a few bits."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["GROUP_INPUTS", "TILE_ROWS", "WeightFormat", "parse_format"]

TILE_ROWS = 16
GROUP_INPUTS = 32

_TEXT = re.compile(r"int([48])(?: +block=([0-9]{1,4}))?( +asymmetric)?")
_BLOCKS = (32, 64, 128, 256)


@dataclass(frozen=True)
class WeightFormat:
    """``bits`` 4 or 8; ``block`` inputs share a scale and, if ``asymmetric``, an offset."""

    bits: int
    block: int = GROUP_INPUTS
    asymmetric: bool = False

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or self.block not in _BLOCKS:
            raise ValueError(f"{self.bits} bits in blocks of {self.block}: no format of weights")

    @property
    def numbers(self) -> int:
        """Numbers stored for each block and row: a scale, and perhaps an offset."""
        return 2 if self.asymmetric else 1

    @property
    def bits_per_weight(self) -> float:
        """What a weight takes, scales included, where nothing is padded."""
        return self.bits + 16 * self.numbers / self.block

    def stored_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of the codes and scales of a weight [..,rows,inputs], padding included."""
        *outer, rows, inputs = shape
        tiles, blocks = -(-rows // TILE_ROWS), -(-inputs // self.block)
        of_block = TILE_ROWS * (self.block * self.bits // 8 + 2 * self.numbers)
        return math.prod(outer) * tiles * blocks * of_block

    def __str__(self) -> str:
        text = f"int{self.bits} block={self.block}"
        return f"{text} asymmetric" if self.asymmetric else text


def parse_format(text: str) -> WeightFormat:
    """The format written ``int4 block=128 asymmetric``; blocks are of 32 unless told otherwise.

    Raises ``ValueError`` saying what is expected.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or int(match[2] or GROUP_INPUTS) not in _BLOCKS:
        blocks = ", ".join(map(str, _BLOCKS))
        raise ValueError(
            f"is {text[:40]!r}, expected int4 or int8, perhaps with block= one of {blocks}, and "
            "perhaps asymmetric"
        )
    return WeightFormat(int(match[1]), int(match[2] or GROUP_INPUTS), match[3] is not None)
