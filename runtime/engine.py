"""An opened engine: immutable, shared by any number of sessions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from deltaport.custom_op_version import OP_LIBRARY_VERSION
from deltaport.decoder_interface import LOGITS, STEP_INPUTS
from deltaport.errors import EngineError
from deltaport.package import Manifest, open_package
from deltaport.runtime.arguments import integer
from deltaport.runtime.kernel_library import register_kernels
from deltaport.threads import most_threads

if TYPE_CHECKING:
    from deltaport.runtime.session import Session
    from deltaport.text import TextTokenizer

__all__ = ["Device", "Engine", "open_decoder"]

Device = Literal["cpu", "cuda"]

_FOR_CUDA = {"ort-cuda"}
"""Targets whose engines belong on a GPU."""
_WITH_KERNELS = {"ort-cpu"}
"""Targets whose engines run the custom ops by our native kernels."""
_TENSOR_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"} | {
    "float16": "tensor(float16)",
    "bfloat16": "tensor(bfloat16)",
}
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_BFLOAT16 = 16
"""ONNX's number for bfloat16, whose bits numpy carries as uint16."""


class Engine:
    """A loaded decoder and the manifest that describes it. Open one with :meth:`open`."""

    def __init__(self, folder: Path, manifest: Manifest, decoder: ort.InferenceSession) -> None:
        self.folder = folder
        self.manifest = manifest
        self._decoder = decoder
        self._bfloat16 = {
            name
            for tensor in manifest.state
            if tensor.dtype == "bfloat16"
            for name in (tensor.input, tensor.output)
        }

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        threads: int | None = None,
        checksums: bool = True,
        device: Device | None = None,
    ) -> Engine:
        """Open the engine in ``folder``.

        ``threads``: how many compute threads, by default one per core. ``checksums=False`` skips
        reading every file once to compare it with the manifest. ``device``: by default a GPU for
        engines made for one, where onnxruntime can use it, and the CPU for all else. Raises
        ``EngineError``.
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
        path = root / manifest.decoder
        try:
            decoder = open_decoder(str(path), manifest, threads=threads, device=device)
        except EngineError:
            raise
        except Exception as error:  # as in run_step
            raise _refusal(path, manifest, error) from error
        _check_interface(root / manifest.decoder, decoder, manifest)
        return cls(root, manifest, decoder)

    @property
    def holds_scores(self) -> bool:
        """Whether attention holds all scores of a step at once: [rows, heads, tokens, columns].

        Our kernels do not; onnxruntime's own ops do.
        """
        return self.manifest.target not in _WITH_KERNELS

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
            kind = self._element_type(name, array)
            binding.bind_input(name, "cpu", 0, kind, array.shape, array.ctypes.data)
        for name, array in outputs:
            kind = self._element_type(name, array)
            binding.bind_output(name, "cpu", 0, kind, array.shape, array.ctypes.data)
        try:
            self._decoder.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise EngineError(f"{self.folder}: a step failed: {_first_line(error)}") from error

    def _element_type(self, name: str, array: NDArray[Any]) -> np.dtype[Any] | int:
        return _BFLOAT16 if name in self._bfloat16 else array.dtype


def open_decoder(
    model: str | bytes,
    manifest: Manifest,
    *,
    threads: int | None = None,
    device: Device | None = None,
    weights: Path | None = None,
) -> ort.InferenceSession:
    """A decoder, from its file or its bytes, as every engine runs it.

    ``threads`` and ``device`` as in :meth:`Engine.open`; ``weights`` is the folder of external
    weights for a model from bytes. What onnxruntime raises leaves as it is.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if manifest.target in _WITH_KERNELS:
        register_kernels(options)
    if weights is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(weights)
        )
    decoder = ort.InferenceSession(model, options, providers=_providers(manifest, device))
    if device == "cuda" and _CUDA not in decoder.get_providers():
        # onnxruntime goes on without a word where it finds no driver.
        raise EngineError(
            "device is cuda, but onnxruntime could not use a GPU; check driver and CUDA libraries"
        )
    return decoder


def _providers(manifest: Manifest, device: Device | None) -> list[str]:
    if device not in (None, *get_args(Device)):
        raise EngineError(f"device is {device!r:.40}, expected {' or '.join(get_args(Device))}")
    if device == "cuda" and manifest.target not in _FOR_CUDA:
        raise EngineError(
            f"device is cuda, but the engine was made for {manifest.target!r:.40}; export it with "
            f"--target {' or '.join(_FOR_CUDA)}"
        )
    has_cuda = _CUDA in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise EngineError(
            "device is cuda, but this onnxruntime has no CUDA provider; install onnxruntime-gpu"
        )
    wanted = manifest.target in _FOR_CUDA if device is None else device == "cuda"
    return [_CUDA, _CPU] if wanted and has_cuda else [_CPU]


def _refusal(path: Path, manifest: Manifest, error: Exception) -> EngineError:
    """What to tell of an engine that onnxruntime does not open."""
    dtype = manifest.state.activation_dtype
    if isinstance(error, NoKernel) and dtype != "float32":
        return EngineError(
            f"{path}: computes in {dtype}, for which onnxruntime lacks kernels on this device; run "
            "it where onnxruntime-gpu finds a GPU, or export it with --dtype float32"
        )
    return EngineError(f"{path}: onnxruntime refuses it: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _check_interface(path: Path, decoder: ort.InferenceSession, manifest: Manifest) -> None:
    """The graph must have exactly the inputs and outputs the manifest promises."""
    found = {
        value.name: (value.type, value.shape)
        for value in (*decoder.get_inputs(), *decoder.get_outputs())
    }
    expected: dict[str, tuple[str, tuple[int | str, ...]]] = {
        name: ("int64", shape) for name, shape in STEP_INPUTS.items()
    } | {LOGITS: ("float32", ("rows", manifest.vocab_size))}
    for tensor in manifest.state:
        expected[tensor.input] = expected[tensor.output] = (tensor.dtype, tensor.shape)
    for name in sorted(set(found) ^ set(expected)):
        side = "graph" if name in found else "manifest"
        raise EngineError(f"{path}: {name} is only in the {side}; export the engine again")
    for name, (dtype, shape) in expected.items():
        if found[name][0] != _TENSOR_TYPES[dtype] or not _fits(found[name][1], shape):
            raise EngineError(f"{path}: {name} has another dtype or shape than the manifest says")


def _fits(found: Sequence[int | str | None], promised: Sequence[int | str]) -> bool:
    """Whether a graph's shape takes all that the manifest promises; a name stands for any size."""
    return len(found) == len(promised) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(found, promised, strict=True)
    )
