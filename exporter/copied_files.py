"""The small files of a checkpoint that go into an engine as they are."""

from __future__ import annotations

import os
from pathlib import Path

from deltaport.errors import CheckpointError
from deltaport.strict_json import quote

__all__ = ["COPIED_FILES", "copied_files", "problem_with_file"]

COPIED_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
"""What is taken from a checkpoint as it is."""

COPY_LIMIT = 256 << 20
"""Bytes such a file may have; anything larger is not one."""


def copied_files(checkpoint: Path) -> list[Path]:
    """Those that the checkpoint has; CheckpointError for one that is there but cannot be copied."""
    found = [checkpoint / name for name in COPIED_FILES if os.path.lexists(checkpoint / name)]
    for path in found:
        problem = problem_with_file(path)
        if problem is None and path.stat().st_size > COPY_LIMIT:
            problem = f"larger than {COPY_LIMIT >> 20} MiB, not a {path.name}"
        if problem is not None:
            raise CheckpointError(f"{path}: {problem}")
    return found


def problem_with_file(path: Path) -> str | None:
    """Why a name that is there is no regular file; None if it is one.

    The Hub's cache is made of links. One that leads nowhere must not pass for a file that the
    model does without.
    """
    if path.is_file():
        return None
    if path.is_symlink() and not path.exists():
        return (
            f"is a link to {quote(str(path.readlink()))}, which is not there; a half-finished "
            "download? download the checkpoint again"
        )
    return "is not a regular file"
