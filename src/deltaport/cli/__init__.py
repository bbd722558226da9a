"""The ``deltaport`` command line.

Starting it imports click and nothing heavier: a command imports what it needs when it runs, so
that ``--help`` and mistakes in the arguments answer at once.
"""

from .group import main

__all__ = ["main"]
