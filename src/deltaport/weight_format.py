"""How a weight is stored as codes of a few bits."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["FP8", "GROUP_INPUTS", "TILE_ROWS", "WeightFormat", "parse_format"]

TILE_ROWS = 16
GROUP_INPUTS = 32

_TEXT = re.compile(r"int([48])(?: +block=([0-9]{1,4}))?( +asymmetric)?")
_BLOCKS = (32, 64, 128, 256)


@dataclass(frozen=True)
class WeightFormat:
    """``bits`` 4 or 8; ``block`` inputs share a scale and, if ``asymmetric``, an offset.

    With ``floating`` codes are numbers of their own, e4m3 of 8 bits, and a row has one scale: there
    are no blocks.
    """

    bits: int
    block: int = GROUP_INPUTS
    asymmetric: bool = False
    floating: bool = False

    def __post_init__(self) -> None:
        known = self.bits in (4, 8) and self.block in _BLOCKS
        if self.floating:
            known = (self.bits, self.block, self.asymmetric) == (8, 0, False)
        if not known:
            raise ValueError(f"{self.bits} bits in blocks of {self.block}: no format of weights")

    @property
    def numbers(self) -> int:
        """Numbers stored for each block and row: a scale, and perhaps an offset."""
        return 2 if self.asymmetric else 1

    @property
    def bits_per_weight(self) -> float:
        """What a weight takes, scales of blocks included, where nothing is padded."""
        return self.bits + (16 * self.numbers / self.block if self.block else 0)

    def stored_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of the codes and scales of a weight [..,rows,inputs], padding included."""
        *outer, rows, inputs = shape
        if self.floating:
            return math.prod(outer) * rows * (inputs + 2)
        tiles, blocks = -(-rows // TILE_ROWS), -(-inputs // self.block)
        of_block = TILE_ROWS * (self.block * self.bits // 8 + 2 * self.numbers)
        return math.prod(outer) * tiles * blocks * of_block

    def __str__(self) -> str:
        if self.floating:
            return "fp8"
        text = f"int{self.bits} block={self.block}"
        return f"{text} asymmetric" if self.asymmetric else text


FP8 = WeightFormat(8, block=0, floating=True)


def parse_format(text: str) -> WeightFormat:
    """The format written ``int4 block=128 asymmetric``, or ``fp8``.

    Blocks are of 32 unless told otherwise. Raises ``ValueError`` saying what is expected.
    """
    if text.strip() == str(FP8):
        return FP8
    match = _TEXT.fullmatch(text.strip())
    if match is None or int(match[2] or GROUP_INPUTS) not in _BLOCKS:
        blocks = ", ".join(map(str, _BLOCKS))
        raise ValueError(
            f"is {text[:40]!r}, expected int4 or int8, perhaps with block= one of {blocks}, and "
            "perhaps asymmetric; or fp8"
        )
    return WeightFormat(int(match[1]), int(match[2] or GROUP_INPUTS), match[3] is not None)
