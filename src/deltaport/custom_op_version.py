"""Version of the ``ai.deltaport`` op domain, where both the compiler and the runtime can see it."""

__all__ = ["OP_LIBRARY_VERSION"]

OP_LIBRARY_VERSION = 1
"""Raised whenever an op changes its meaning, so that an older runtime refuses a newer engine."""
