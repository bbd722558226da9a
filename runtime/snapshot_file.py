"""Snapshots as files: safetensors, with whose they are and a checksum in the header.

The file holds ``tokens`` (int64 [n]), ``logits`` (float32 [V]) where there are any, and a tensor
``state.NAME`` for every input NAME of the graph that is state, bfloat16 as its bits in uint16. The
header's metadata has ``format``, ``engine`` (which engine it belongs to), ``length`` (tokens that
the state has seen) and ``sha256``, over these and all tensors.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import InputError, OutputError
from deltaport.package import Manifest
from deltaport.runtime.session_state import NUMPY_DTYPES
from deltaport.runtime.snapshot import Snapshot
from deltaport.state_layout import CAPACITY

__all__ = ["load_snapshot", "save_snapshot"]

FORMAT = "deltaport-snapshot-1"
TOKENS, LOGITS, STATE = "tokens", "logits", "state."
Tensors = Mapping[str, NDArray[Any]]


def engine_identity(manifest: Manifest) -> str:
    """Equal for engines whose snapshots are interchangeable: those of the same files."""
    return hashlib.sha256(manifest.to_json().encode()).hexdigest()


def save_snapshot(snapshot: Snapshot, path: str | os.PathLike[str]) -> None:
    """Write ``snapshot`` to ``path``: all of it, or ``OutputError`` and what was there stays."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    target = Path(path)
    tensors: dict[str, NDArray[Any]] = {TOKENS: np.array(snapshot.tokens, np.int64)}
    if snapshot.logits is not None:
        tensors[LOGITS] = snapshot.logits
    # The library writes memory as it lies: whole arrays, in order.
    tensors |= {STATE + name: np.ascontiguousarray(a) for name, a in snapshot.state.items()}
    header = {
        "format": FORMAT,
        "engine": engine_identity(snapshot.manifest),
        "length": str(snapshot.length),
    }
    header["sha256"] = _checksum(header, tensors)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        try:
            save_file(tensors, name, metadata=header)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"{target}: cannot be written: {why}") from None


def load_snapshot(path: str | os.PathLike[str], manifest: Manifest) -> Snapshot:
    """The snapshot in ``path``, which must belong to the engine of ``manifest``.

    Raises ``InputError`` for a file that is not there, is damaged, or belongs to another engine.
    """
    source = Path(path)
    if not source.is_file():  # reading a pipe or a device may never end
        raise InputError(f"{source}: no such snapshot; Session.snapshot(row).save writes one")
    header, tensors = _read(source)
    if header.get("format") != FORMAT:
        raise InputError(f"{source}: not a snapshot that this deltaport reads, expected {FORMAT}")
    if header.get("engine") != engine_identity(manifest):
        raise InputError(
            f"{source}: the snapshot was taken with another engine; open that engine, or prefill "
            "the tokens again"
        )
    if header.pop("sha256", None) != _checksum(header, tensors):
        raise InputError(f"{source}: checksum differs; the file was altered, save it again")
    return _snapshot(source, header, tensors, manifest)


def _read(source: Path) -> tuple[dict[str, str], Tensors]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="numpy") as file:
            header, names = dict(file.metadata() or {}), file.keys()
            return header, {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise InputError(f"{source}: not a snapshot, or damaged: {str(error)!r:.200}") from None
    except (TypeError, KeyError, AttributeError) as error:  # an element type that numpy has not
        raise InputError(f"{source}: not a snapshot: unknown element type {error}") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from None


def _checksum(header: Mapping[str, str], tensors: Tensors) -> str:
    """Of all that the file says, whatever the order it says it in."""
    digest = hashlib.sha256()
    for name, text in sorted(header.items()):
        digest.update(f"{name}={text!r}\n".encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name!r} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).data)
    return digest.hexdigest()


def _snapshot(
    source: Path, header: Mapping[str, str], tensors: Tensors, manifest: Manifest
) -> Snapshot:
    """What the tensors say, if they are those of the engine: a checksum is no proof of sense."""
    text = header.get("length", "")
    length = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    tokens = tensors.get(TOKENS)
    if tokens is None or tokens.dtype != np.int64 or tokens.ndim != 1:
        raise InputError(f"{source}: tokens are missing or no list of int64; save it again")
    if not (0 <= length <= len(tokens) <= manifest.max_positions):
        raise InputError(
            f"{source}: the state has seen {text!r:.40} of {len(tokens)} tokens, expected at most "
            f"all of them and no more than {manifest.max_positions}; save it again"
        )
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < manifest.vocab_size:
        raise InputError(f"{source}: tokens go beyond the vocabulary of {manifest.vocab_size}")
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        STATE + tensor.input: (
            NUMPY_DTYPES[tensor.dtype],
            tuple(length if dim == CAPACITY else int(dim) for dim in tensor.shape[1:]),
        )
        for tensor in manifest.state
    }
    expected[TOKENS] = (np.int64, tokens.shape)
    if LOGITS in tensors:
        expected[LOGITS] = (np.float32, (manifest.vocab_size,))
    for name in sorted(expected.keys() ^ tensors.keys()):
        which = "missing" if name in expected else "not part of a snapshot"
        raise InputError(f"{source}: {name!r:.80} is {which}; save it again")
    for name, (dtype, shape) in expected.items():
        found = tensors[name]
        if found.dtype != dtype or found.shape != shape:
            raise InputError(
                f"{source}: {name!r:.80} is {found.dtype} {list(found.shape)}, expected "
                f"{np.dtype(dtype)} {list(shape)}; save it again"
            )
    return Snapshot(
        manifest=manifest,
        tokens=tuple(tokens.tolist()),
        length=length,
        logits=tensors.get(LOGITS),
        state={tensor.input: tensors[STATE + tensor.input] for tensor in manifest.state},
    )
