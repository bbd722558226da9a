"""A Hugging Face checkpoint folder as one lazy set of named tensors.

A folder holds either ``model.safetensors`` or shards listed by ``model.safetensors.index.json``,
whose ``weight_map`` gives the shard of every tensor: the layout ``save_pretrained`` of transformers
writes. Pickled checkpoints (``pytorch_model.bin``) run code when loaded and are never read.
"""

import os
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.exporter.safetensors_file import SafetensorsFile, TensorEntry
from deltaport.graph_passes.recipes.region import Region
from deltaport.strict_json import JsonProblem, parse_object, quote

__all__ = ["Checkpoint"]

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_AGAIN = "download the checkpoint again"


class Checkpoint:
    """The tensors of a folder. Headers are read and checked at once, data only when asked for.

    Satisfies ``recipe.TensorSource``.
    """

    def __init__(self, folder: Path, files: list[SafetensorsFile]) -> None:
        self.folder = folder
        self._files = files
        self._file_of = {name: file for file in files for name in file.tensors}

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Open ``folder``; :class:`CheckpointError` if its files are missing, damaged or at odds.

        No file stays open until data are read, so a failure leaves nothing to close.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(
                f"{folder}: is not a folder; expected one with {_SINGLE} or {_INDEX}"
            )
        index, single = folder / _INDEX, folder / _SINGLE
        if index.is_file():
            shards = _read_index(index)
            if single.is_file() and _SINGLE not in shards:
                # transformers would read the single file, other tools the shards.
                raise CheckpointError(
                    f"{folder}: holds {_SINGLE} and also {_INDEX}, which does not list it; "
                    "remove the one that is out of date"
                )
            return cls(folder, [_open_shard(index, *shard) for shard in shards.items()])
        if single.is_file():
            return cls(folder, [SafetensorsFile.open(single)])
        raise _nothing_to_open(folder)

    @property
    def total_bytes(self) -> int:
        """Bytes of tensor data in all files, tensors that no engine uses included."""
        return sum(entry.nbytes for file in self._files for entry in file.tensors.values())

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files of weights, links as they are given."""
        return tuple(file.path for file in self._files)

    def names(self) -> tuple[str, ...]:
        """Return all tensor names, in the order of the files and their headers."""
        return tuple(self._file_of)

    def entry(self, name: str) -> TensorEntry:
        """Return a tensor's dtype, shape and place; :class:`CheckpointError` if there is none."""
        return self._file(name).tensors[name]

    def read(self, name: str, region: Region) -> NDArray[Any]:
        """Return a copy of one region of a tensor; see :meth:`SafetensorsFile.read`."""
        return self._file(name).read(name, region)

    def release(self, name: str) -> None:
        """Drop the resident pages of a tensor; see :meth:`SafetensorsFile.release`."""
        self._file(name).release(name)

    def close(self) -> None:
        """Unmap all files; reading afterwards is an error."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _file(self, name: str) -> SafetensorsFile:
        if name not in self._file_of:
            raise CheckpointError(f"{self.folder}: has no tensor {quote(name)}")
        return self._file_of[name]


def _read_index(path: Path) -> dict[str, list[str]]:
    """Return the tensor names of each shard, having checked that every shard exists."""
    try:
        weight_map = parse_object(path.read_bytes()).get("weight_map")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); check the path") from None
    except JsonProblem as problem:
        raise CheckpointError(f"{path}: index {problem}; {_AGAIN}") from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{path}: weight_map is {quote(weight_map)}, expected shard names by tensor; {_AGAIN}"
        )
    shards: dict[str, list[str]] = {}
    for tensor, shard in weight_map.items():
        if not _is_shard_name(shard):
            raise CheckpointError(
                f"{path}: tensor {quote(tensor)} is in {quote(shard)}, expected the plain name of "
                f"a .safetensors file in the same folder; {_AGAIN}"
            )
        shards.setdefault(shard, []).append(tensor)
    missing = [shard for shard in shards if not (path.parent / shard).is_file()]
    if missing:
        more = f" ({len(missing)} shards are missing in all)" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{path}: shard {missing[0]} is missing, expected it to hold "
            f"{len(shards[missing[0]])} tensors{more}; {_AGAIN}"
        )
    return shards


def _is_shard_name(name: object) -> bool:
    # No separators, so never outside the folder; printable, so that messages stay one line.
    return (
        isinstance(name, str)
        and name.endswith(".safetensors")
        and len(name) <= 200  # what a file system takes, and an error may show
        and name.isprintable()
        and not any(character in name for character in "/\\:")
    )


def _open_shard(index: Path, shard: str, listed: list[str]) -> SafetensorsFile:
    """Open a shard and check that it holds exactly the tensors the index says."""
    file = SafetensorsFile.open(index.parent / shard)
    lacking = [name for name in listed if name not in file.tensors]
    if lacking:
        raise CheckpointError(
            f"{file.path}: lacks tensor {quote(lacking[0])}{_and_more(lacking)}, expected by "
            f"{index.name}; {_AGAIN}"
        )
    known = set(listed)
    extra = [name for name in file.tensors if name not in known]
    if extra:
        raise CheckpointError(
            f"{file.path}: holds tensor {quote(extra[0])}{_and_more(extra)} left over: "
            f"{index.name} does not list it there; {_AGAIN}"
        )
    return file


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _nothing_to_open(folder: Path) -> CheckpointError:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return CheckpointError(
            f"{folder}: holds only the pickled checkpoint {quote(pickles[0])}, expected {_SINGLE} "
            f"or {_INDEX}; pickled checkpoints are never loaded, as loading one runs its code: "
            "convert it with transformers' save_pretrained(safe_serialization=True)"
        )
    return CheckpointError(
        f"{folder}: holds no weights, expected {_SINGLE} or {_INDEX}; give the folder that "
        "save_pretrained or a download from the Hub wrote"
    )
