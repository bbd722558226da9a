"""Train the demo checkpoint; run from the repository: python -m examples.train_demo.train WORK.

Everything it makes goes to the folder WORK. Killed and started again it goes on from its last
save, on the same data in the same order.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist

from examples.train_demo.data import prepare
from examples.train_demo.training import Training

WORKERS = 2


def main() -> None:
    """Prepare the data, then let every worker train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=1450)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    prepare(arguments.work)
    torch.multiprocessing.spawn(work, (arguments.work, arguments.steps), nprocs=WORKERS)


def work(rank: int, folder: Path, steps: int) -> None:
    """One of the workers, with one thread: operations are too small to be shared by several."""
    torch.set_num_threads(1)
    meeting_point = dist.FileStore(str(folder / f"meeting_point_{os.getppid()}"), WORKERS)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS, store=meeting_point)
    Training(folder, steps).run()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
