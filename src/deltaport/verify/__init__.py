"""Comparing an engine with the checkpoint it was made from, and finding where it departs.

An *oracle* computes what the checkpoint's model gives, in float32: transformers, or our own eager
torch modules. The engine runs the same prompts, and every difference is held against the bounds of
``deltaport.numerics``.
"""

from deltaport.verify.report import Report
from deltaport.verify.verify_engine import VerifyEvents, verify_engine

__all__ = ["Report", "VerifyEvents", "verify_engine"]
