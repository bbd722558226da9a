"""Write the tests' toy engine, for programs that are to be tried without a checkpoint."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from tests.runtime.toy_engine import write_toy


def main() -> None:
    """Write it to a folder, in place of what is there."""
    parser = argparse.ArgumentParser(prog="python -m tools.write_toy_engine", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    write_toy(folder)


if __name__ == "__main__":
    main()
