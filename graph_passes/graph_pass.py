"""What every graph pass is: a small class whose fields are its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from deltaport.errors import PassError

__all__ = ["GraphPass", "PreconditionError"]


class PreconditionError(PassError, ir.passes.PreconditionError):
    """A pass was given a graph it is not made for: a pass that must run before it did not."""


@dataclass(frozen=True)
class GraphPass(ir.passes.InPlacePass):
    """One pass, in place.

    A subclass is a frozen dataclass; its fields are the pass's options and all have defaults.
    ``name`` is kebab-case and, with underscores, also the name of its file. ``requires`` raises
    :class:`PreconditionError` where the graph is not what the pass is made for; ``call`` loops
    over the graph and says whether it changed it.

    Passes rewrite the recipes of weights; none may ask for a weight's value.
    """

    name: ClassVar[str]
