"""How many compute threads may be asked for."""

import os

__all__ = ["most_threads"]

_ALWAYS = 64


def most_threads() -> int:
    """The number of cores, or 64 where there are fewer.

    More never pays, and thousands take the machine down: each reserves memory and spins while it
    waits for the others.
    """
    return max(_ALWAYS, os.cpu_count() or 1)
