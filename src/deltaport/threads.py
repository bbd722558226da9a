"""How many threads there may be, and how many are worth it."""

import os
from contextlib import suppress

__all__ = ["available_threads", "most_threads"]

_ALWAYS = 64


def most_threads() -> int:
    """The number of cores, or 64 where there are fewer.

    More never pays, and thousands take the machine down: each reserves memory and spins while it
    waits for the others.
    """
    return max(_ALWAYS, os.cpu_count() or 1)


def available_threads() -> int:
    """Processors this process may use."""
    with suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
