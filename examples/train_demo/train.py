"""Train the demo checkpoint; run from the repository: python -m examples.train_demo.train WORK.

Everything it makes goes to the folder WORK. Killed and started again it goes on from its last
save, on the same data in the same order.
"""

from __future__ import annotations

import argparse
import tempfile
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
    with tempfile.TemporaryDirectory() as folder:
        meeting_point = str(Path(folder) / "meeting_point")
        given = (arguments.work, arguments.steps, meeting_point)
        torch.multiprocessing.spawn(work, given, nprocs=WORKERS)


def work(rank: int, folder: Path, steps: int, meeting_point: str) -> None:
    """One of the workers, with one thread: operations are too small to be shared by several."""
    torch.set_num_threads(1)
    store = dist.FileStore(meeting_point, WORKERS)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS, store=store)
    Training(folder, steps).run()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
