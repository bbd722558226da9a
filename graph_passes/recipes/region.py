"""Boxes inside a tensor, the unit in which weights are read."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Region", "check_region"]

Region: TypeAlias = tuple[tuple[int, int], ...]
"""Half-open (start, stop) element ranges, one per dimension of a tensor."""


def check_region(region: Region, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``region`` lies inside ``shape``: a wrong region is our own bug."""
    if len(region) != len(shape) or not all(
        0 <= start <= stop <= size for (start, stop), size in zip(region, shape, strict=True)
    ):
        raise ValueError(f"region {region} is not inside shape {shape}")
