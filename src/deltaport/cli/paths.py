"""Paths that cannot be what a command needs, and what to give it instead."""

from __future__ import annotations

import re
from pathlib import Path

from deltaport.errors import InputError
from deltaport.package import MANIFEST_NAME

__all__ = ["check_exported", "check_inspected"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_INSIDE_A_FOLDER = re.compile(r".+\.(safetensors|safetensors\.index\.json|onnx|onnx\.data)")


def check_exported(path: Path) -> None:
    """Refuse what is no folder, or an engine already. The rest is for the exporter to check."""
    try:
        if not path.exists():
            raise InputError(f"{path}: no such folder{_download(path)}")
        if not path.is_dir():
            raise InputError(f"{path}: is a file; give its folder, {path.parent}")
        if (path / MANIFEST_NAME).is_file() and not (path / "config.json").exists():
            raise InputError(
                f"{path}: is an engine already, not a checkpoint; run it with 'deltaport run', or "
                "give the checkpoint it was made from"
            )
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def check_inspected(path: Path) -> None:
    """Refuse what is not there, and files that are only a part of what can be inspected."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder{_download(path)}")
    if path.is_file() and _INSIDE_A_FOLDER.fullmatch(path.name):
        raise InputError(f"{path}: is only a part; give its folder, {path.parent}")


def _download(path: Path) -> str:
    """What to do about a missing ``path``, which may name a model of the hub."""
    if not _HUB_ID.fullmatch(str(path)) or path.parent.exists():
        return "; check the path"
    return (
        "; a model of the Hugging Face hub must be downloaded first: "
        f"hf download {path} --local-dir {path.name}"
    )
