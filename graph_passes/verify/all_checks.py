"""All that must hold of a decoder graph after any pass."""

from __future__ import annotations

from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.verify.verify_graph import VerifyGraph
from deltaport.graph_passes.verify.verify_in_place_safety import VerifyInPlaceSafety
from deltaport.graph_passes.verify.verify_state_layout import VerifyStateLayout

__all__ = ["checks"]


def checks(*, kernels: bool = False) -> tuple[GraphPass, ...]:
    """The passes that check, in the order in which they are of most help.

    ``kernels``: our ops are run by our kernels, never by their bodies.
    """
    return VerifyGraph(), VerifyStateLayout(), VerifyInPlaceSafety(kernels)
