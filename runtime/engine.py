"""An opened engine: immutable, shared by any number of sessions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from deltaport.custom_op_version import OP_LIBRARY_VERSION
from deltaport.decoder_interface import LOGITS, STEP_INPUTS
from deltaport.errors import EngineError
from deltaport.package import Manifest, open_package
from deltaport.runtime.arguments import integer
from deltaport.threads import most_threads

if TYPE_CHECKING:
    from deltaport.runtime.session import Session
    from deltaport.text import TextTokenizer

__all__ = ["Engine", "session_options"]


class Engine:
    """A loaded decoder and the manifest that describes it. Open one with :meth:`open`."""

    def __init__(self, folder: Path, manifest: Manifest, decoder: ort.InferenceSession) -> None:
        self.folder = folder
        self.manifest = manifest
        self._decoder = decoder

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        threads: int | None = None,
        checksums: bool = True,
    ) -> Engine:
        """Open the engine in ``folder``.

        ``threads``: how many compute threads, by default one per core. ``checksums=False`` skips
        reading every file once to compare it with the manifest. Raises ``EngineError``.
        """
        if threads is not None:
            integer("threads", threads, most=most_threads())
        root = Path(folder)
        manifest = open_package(root, checksums=checksums)
        if manifest.op_library_version > OP_LIBRARY_VERSION:
            raise EngineError(
                f"{root}: made with op library {manifest.op_library_version}, this deltaport has "
                f"{OP_LIBRARY_VERSION}; upgrade deltaport or export the engine again"
            )
        decoder = _load(root / manifest.decoder, threads)
        _check_interface(root / manifest.decoder, decoder, manifest)
        return cls(root, manifest, decoder)

    @cached_property
    def tokenizer(self) -> TextTokenizer | None:
        """Text in and out, loaded when first asked for; None where the folder has no tokenizer.

        Raises ``EngineError`` for one that is damaged.
        """
        from deltaport.text import TOKENIZER_NAME, TextTokenizer

        there = os.path.lexists(self.folder / TOKENIZER_NAME)
        return TextTokenizer.load(self.folder) if there else None

    def session(self, sequences: int = 1, *, context: int | None = None) -> Session:
        """Fresh state for ``sequences`` sequences of at most ``context`` tokens each.

        ``context`` defaults to what the model was trained for. Caches are reserved as tokens are
        announced, in doubling steps, and take memory as tokens come.
        """
        from deltaport.runtime.session import Session

        return Session(self, sequences, context=context)

    def run_step(
        self,
        inputs: Sequence[tuple[str, NDArray[Any]]],
        outputs: Sequence[tuple[str, NDArray[Any]]],
    ) -> None:
        """Run the decoder once with every input and output bound to the given arrays."""
        binding = self._decoder.io_binding()
        for name, array in inputs:
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs:
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        try:
            self._decoder.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise EngineError(f"{self.folder}: a step failed: {_first_line(error)}") from error


def session_options(threads: int | None) -> ort.SessionOptions:
    """How every decoder is run; ``threads`` as in :meth:`Engine.open`."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _load(path: Path, threads: int | None) -> ort.InferenceSession:
    options = session_options(threads)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as in run_step
        raise EngineError(f"{path}: onnxruntime refuses it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _check_interface(path: Path, decoder: ort.InferenceSession, manifest: Manifest) -> None:
    """The graph must have exactly the inputs and outputs the manifest promises."""
    dtypes = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    found = {
        value.name: (dtypes.get(value.type), value.shape)
        for value in (*decoder.get_inputs(), *decoder.get_outputs())
    }
    expected: dict[str, tuple[type, tuple[int | str, ...]]] = {
        name: (np.int64, shape) for name, shape in STEP_INPUTS.items()
    } | {LOGITS: (np.float32, ("rows", manifest.vocab_size))}
    for tensor in manifest.state:
        expected[tensor.input] = expected[tensor.output] = (np.float32, tensor.shape)
    for name in sorted(set(found) ^ set(expected)):
        side = "graph" if name in found else "manifest"
        raise EngineError(f"{path}: {name} is only in the {side}; export the engine again")
    for name, (dtype, shape) in expected.items():
        if found[name][0] is not dtype or not _fits(found[name][1], shape):
            raise EngineError(f"{path}: {name} has another dtype or shape than the manifest says")


def _fits(found: Sequence[int | str | None], promised: Sequence[int | str]) -> bool:
    """Whether a graph's shape takes all that the manifest promises; a name stands for any size."""
    return len(found) == len(promised) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(found, promised, strict=True)
    )
