"""Judge a demo checkpoint by its held-out text.

Run from the repository: python -m examples.train_demo.judge_checkpoint FOLDER
"""

from __future__ import annotations

import argparse
import lzma
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from tokenizers import Tokenizer

from examples.train_demo.config import demo_spec
from examples.train_demo.data import HELD_OUT, TOKENIZER, Ids
from examples.train_demo.held_out import Judgement, judge
from examples.train_demo.model import DemoModel
from examples.train_demo.training import LONG_ROWS

__all__ = ["held_out_ids", "judge_folder", "xz_bits_per_byte"]


def main() -> None:
    """Print the figures as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found = judge_folder(folder)
    text = (folder / HELD_OUT).read_bytes()
    ours, xz = found.bits / len(text), xz_bits_per_byte(text)
    print(f"bits per byte, in contexts of {LONG_ROWS[1]:,} tokens   {ours:.4f}")
    less = f"ours is {1 - ours / xz:.1%} below"
    print(f"bits per byte, xz -9e                        {xz:.4f}: {less}")
    print(f"drafts of the prediction head that are right {found.drafts_taken:.1%}")
    print("load of experts over a fair share            least  most")
    for i, loads in enumerate(found.loads):
        name = f"layer {i}" if i < len(found.loads) - 1 else "prediction head"
        print(f"  {name:42} {loads.min():5.2f} {loads.max():5.2f}")


def judge_folder(folder: Path) -> Judgement:
    """The figures of the checkpoint in ``folder`` on the text it has beside it."""
    model = DemoModel(demo_spec())
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return judge(model, held_out_ids(folder), LONG_ROWS[1])


def held_out_ids(folder: Path) -> Ids:
    """The token ids of the held-out text in ``folder``, and one of padding."""
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    text = (folder / HELD_OUT).read_bytes().decode()
    return np.array([*tokenizer.encode(text).ids, 0], np.uint16)


def xz_bits_per_byte(text: bytes) -> float:
    """What ``xz -9e`` makes of ``text``."""
    return 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text)


if __name__ == "__main__":
    main()
