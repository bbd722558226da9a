"""From the corpus to token ids, and those of a step."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from examples.train_demo.config import VOCAB_SIZE
from examples.train_demo.corpus import HELD_OUT_BYTES, Corpus, collect
from examples.train_demo.tokenizer import END_OF_TEXT, train_tokenizer

__all__ = [
    "CALIBRATION",
    "HELD_OUT",
    "RECORD",
    "SEED",
    "TOKENIZER",
    "Stretches",
    "load",
    "prepare",
    "with_repeats",
]

SEED = 20261123
HELD_OUT, CALIBRATION = "held_out.txt", "calibration.txt"
TOKENIZER, RECORD = "tokenizer.json", "corpus.json"
_CALIBRATION_BYTES = 200_000
Ids = NDArray[np.uint16]


def prepare(work: Path) -> None:
    """Write texts, tokenizer and token ids to ``work``, unless they are there."""
    corpus = collect()
    record = _record(corpus)
    if (work / "held_out.npy").exists():
        if (work / RECORD).read_text() != record:
            raise SystemExit(f"{work}: made from another Python, or by other rules; take a new one")
        return
    (work / RECORD).write_text(record)
    texts = [document.text for document in corpus.training]
    tokenizer = train_tokenizer(texts, VOCAB_SIZE, work / TOKENIZER)
    order = np.random.default_rng(SEED).permutation(len(texts))
    shuffled = [texts[i] for i in order]
    np.save(work / "training.npy", _encode(tokenizer, shuffled))
    calibration = "".join(text[:2000] for text in shuffled)  # the beginnings of many files
    (work / CALIBRATION).write_bytes(_cut(calibration.encode(), _CALIBRATION_BYTES))
    held_out = "".join(document.text for document in corpus.held_out)
    (work / HELD_OUT).write_bytes(_cut(held_out.encode(), HELD_OUT_BYTES))
    judged = (work / HELD_OUT).read_bytes().decode()
    np.save(work / "held_out.npy", _encode(tokenizer, [judged]))  # last: now all is there


def load(work: Path, name: str) -> Ids:
    """The token ids of the text ``name``, ``training`` or ``held_out``."""
    ids: Ids = np.load(work / f"{name}.npy", allow_pickle=False)
    return ids


def _cut(data: bytes, size: int) -> bytes:
    """The first ``size`` bytes or so, up to the end of a line."""
    return data[: data.rindex(b"\n", 0, size) + 1]


def _encode(tokenizer: Tokenizer, texts: list[str]) -> Ids:
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = [np.array([*encoded.ids, end], np.uint16) for encoded in tokenizer.encode_batch(texts)]
    return np.concatenate(ids)


def _record(corpus: Corpus) -> str:
    """Which text this was: the version of Python, and every file with its hash."""
    record: dict[str, Any] = {
        "python": platform.python_version(),
        "training": {document.path: document.sha256 for document in corpus.training},
        "held_out": {document.path: document.sha256 for document in corpus.held_out},
    }
    return json.dumps(record, indent=1) + "\n"


class Stretches:
    """Stretches of a text in an order by chance: each once, before any comes twice."""

    def __init__(self, ids: Ids, length: int, *, phase: int) -> None:
        self.ids, self.length, self.phase = ids, length, phase

    def __getitem__(self, place: int) -> Tensor:
        """The one at ``place`` of the endless order, int64 [length]."""
        count = len(self.ids) // self.length
        epoch, index = divmod(place, count)
        order = np.random.default_rng([SEED, self.phase, epoch]).permutation(count)
        start = int(order[index]) * self.length
        return torch.from_numpy(self.ids[start : start + self.length].astype(np.int64))


def with_repeats(rows: Tensor, share: float, *, seed: tuple[int, ...]) -> Tensor:
    """Rows [B,T] of which about ``share`` jump back in the middle, and read on from there.

    To look back and copy is the first thing worth learning in code, and the text alone teaches it
    late: it took a run without such rows more than 600 steps to begin.
    """
    generator = np.random.default_rng(seed)
    rows, half = rows.clone(), rows.shape[1] // 2
    for row in rows:
        if generator.random() < share:
            start = int(generator.integers(0, half))
            row[half:] = row[start : start + half].clone()
    return rows
