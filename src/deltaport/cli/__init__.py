"""The ``deltaport`` command line.

Starting it imports click and nothing heavier: a command imports what it needs when it runs, so
that ``--help`` and mistakes in the arguments answer at once.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from .failures import Reporting, reporting_failures

__all__ = ["main"]


def main(args: Sequence[str] | None = None, prog_name: str = "deltaport") -> NoReturn:
    """Run the command line on ``args``, by default the process's own, and exit."""

    def command_line(reporting: Reporting) -> int:
        from .group import run_group  # here, as click takes long enough for a Ctrl-C

        return run_group(sys.argv[1:] if args is None else args, prog_name, reporting)

    sys.exit(reporting_failures(command_line))
