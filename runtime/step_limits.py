"""How many tokens a step takes, and how far caches reach at first: one place for all sessions."""

from __future__ import annotations

from deltaport.runtime import _native

__all__ = ["LIMITS"]

LIMITS = _native.StepLimits()
"""``initial_capacity``, ``largest``, ``smallest``, ``most_tokens`` and ``score_cells``, as told in
the native runtime's ``session.h``. Sessions take them as they are when they are opened."""
