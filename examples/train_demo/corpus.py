"""The training text: the Python standard library's own sources, split by directory.

Files that are mostly tables are left out, and so are near-duplicates: a file most of whose line
shingles were seen before. Packages are held out whole. Their tests, which are in a directory of
their own, are learnt from: they use what is held out, and share next to no lines with it.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Corpus", "Document", "collect"]

HELD_OUT_BYTES = 200_000
LARGEST_FILE = 300_000
SHINGLE = 5
"""Lines that are compared as one."""
MOST_SEEN = 0.5
"""Of a file's shingles that earlier files may have shown."""
_SKIPPED = {"site-packages", "__pycache__", "pydoc_data", "encodings", "lib2to3", "turtledemo"}
_TABLE = re.compile(r"[0-9]|\\x|\\u|0x")


@dataclass(frozen=True)
class Document:
    """One source file: its path below the library's root, and its text."""

    path: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text as UTF-8, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Corpus:
    """What is learnt from, and what the result is judged by."""

    training: list[Document]
    held_out: list[Document]


def collect(root: Path | None = None) -> Corpus:
    """Read, filter and split the library at ``root``, by default that of this Python."""
    root = root or Path(sysconfig.get_paths()["stdlib"])
    documents = list(_readable(root))
    held_out = _held_out_directories(documents)
    judged = [document for document in documents if _directory(document.path) in held_out]
    seen: set[int] = set()
    judged = [document for document in judged if _is_new(document, seen)]
    training = [
        document
        for document in documents
        if _directory(document.path) not in held_out and _is_new(document, seen)
    ]
    return Corpus(training, judged)


def _readable(root: Path) -> Iterator[Document]:
    for path in sorted(root.rglob("*.py")):
        local = path.relative_to(root)
        if _SKIPPED & set(local.parts) or path.stat().st_size > LARGEST_FILE:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # sources in other encodings, kept as test data
            continue
        if len(text) > 200 and len(_TABLE.findall(text)) < 0.12 * len(text):
            yield Document(local.as_posix(), text)


def _directory(path: str) -> str:
    """The package a file belongs to; modules at the top are packages of their own."""
    return path.split("/")[0]


def _held_out_directories(documents: list[Document]) -> set[str]:
    """Middle-sized packages in an order that nobody chose, until there is enough to judge by."""
    sizes: dict[str, int] = {}
    for document in documents:
        if "/" in document.path:
            name = _directory(document.path)
            sizes[name] = sizes.get(name, 0) + len(document.text.encode())
    chosen, total = set[str](), 0
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if 20_000 <= sizes[name] <= 120_000 and total < 1.25 * HELD_OUT_BYTES:
            chosen.add(name)
            total += sizes[name]
    return chosen


def _is_new(document: Document, seen: set[int]) -> bool:
    """Whether a file adds to what was seen; if so its shingles are seen from now on."""
    lines = [line.strip() for line in document.text.splitlines() if line.strip()]
    shingles = {hash(tuple(lines[i : i + SHINGLE])) for i in range(len(lines) - SHINGLE + 1)}
    if not shingles or len(shingles & seen) > MOST_SEEN * len(shingles):
        return False
    seen |= shingles
    return True
