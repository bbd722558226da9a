"""An opened engine: immutable, shared by any number of sessions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import EngineError
from deltaport.package import Manifest, Plan, engine_identity, open_package
from deltaport.runtime import _native
from deltaport.runtime.arguments import integer
from deltaport.runtime.kernel_library import kernel_library
from deltaport.runtime.onnxruntime_library import onnxruntime_library
from deltaport.runtime.tensorrt_library import plugin_library, tensorrt_library
from deltaport.state_layout import StateTensor
from deltaport.threads import most_threads

if TYPE_CHECKING:
    from deltaport.runtime.prefix_cache import PrefixCache
    from deltaport.runtime.session import Session
    from deltaport.text import TextTokenizer

__all__ = ["Device", "Engine", "StepObserver", "open_decoder"]

Device = Literal["cpu", "cuda"]


class StepObserver(Protocol):
    """Is shown every run of the decoder; what it raises ends the step, which then never was."""

    def before(self, inputs: Mapping[str, NDArray[np.int64]]) -> None:
        """What the run is fed beside the state, by the names of the graph's inputs; copies."""

    def after(
        self, logits: NDArray[np.float32], taps: Mapping[str, tuple[NDArray[np.uint8], list[int]]]
    ) -> None:
        """What it gave: logits, flat, to look at or change; taps, as their bytes and shape.

        The logits are of use until this returns.
        """


class Engine:
    """A loaded decoder and the manifest that describes it. Open one with :meth:`open`."""

    def __init__(self, folder: Path, manifest: Manifest, native: _native.Engine) -> None:
        self.folder = folder
        self.manifest = manifest
        self.native = native
        self.observer: StepObserver | None = None
        """For sessions opened from now on."""

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
        engines made for one, where onnxruntime or TensorRT can use it, and the CPU for all else.
        Raises ``EngineError``.
        """
        if threads is not None:
            integer("threads", threads, most=most_threads())
        root = Path(folder)
        manifest = open_package(root, checksums=checksums)
        return cls(root, manifest, open_decoder(root, manifest, threads=threads, device=device))

    @cached_property
    def tokenizer(self) -> TextTokenizer | None:
        """Text in and out, loaded when first asked for; None where the folder has no tokenizer.

        Raises ``EngineError`` for one that is damaged.
        """
        from deltaport.text import TOKENIZER_NAME, TextTokenizer

        there = os.path.lexists(self.folder / TOKENIZER_NAME)
        return TextTokenizer.load(self.folder) if there else None

    def session(
        self,
        sequences: int = 1,
        *,
        context: int | None = None,
        prefixes: PrefixCache | None = None,
    ) -> Session:
        """Fresh state for ``sequences`` sequences of at most ``context`` tokens each.

        ``context`` defaults to what the model was trained for, or what the caches of a plan hold.
        Memory is taken as tokens come, and at once on a GPU.
        ``prefixes``: where prompts that begin alike find each other's state.
        """
        from deltaport.runtime.session import Session

        return Session(self, sequences, context=context, prefixes=prefixes)


def open_decoder(
    folder: Path,
    manifest: Manifest,
    *,
    graph: bytes | None = None,
    taps: Sequence[str] = (),
    threads: int | None = None,
    device: Device | None = None,
) -> _native.Engine:
    """The decoder of the engine in ``folder``, or ``graph`` with the weights there.

    ``taps``: further outputs of the graph, shown to a ``StepObserver``. ``threads`` and ``device``
    as in :meth:`Engine.open`. Raises ``EngineError``.
    """
    if device not in (None, *get_args(Device)):
        raise EngineError(f"device is {device!r:.40}, expected {' or '.join(get_args(Device))}")
    plans = _native.runs_plans(manifest.target)
    return _native.Engine(
        name=str(folder),
        manifest=_native.manifest(
            target=manifest.target,
            ragged=manifest.ragged,
            decoder=manifest.decoder,
            vocab_size=manifest.vocab_size,
            max_positions=manifest.max_positions,
            eos_token_ids=list(manifest.eos_token_ids),
            op_library_version=manifest.op_library_version,
            state=[_row(tensor) for tensor in manifest.state],
            plan=_plan(manifest.plan),
            identity=engine_identity(folder) if graph is None else sha256(graph).hexdigest(),
        ),
        path=str(folder / manifest.decoder),
        graph=graph,
        folder=str(folder),
        taps=list(taps),
        onnxruntime="" if plans else str(onnxruntime_library()),
        kernels=str(kernel_library()) if _native.runs_our_kernels(manifest.target) else "",
        tensorrt=tensorrt_library(manifest.plan) if plans else "",
        plugins=str(plugin_library()) if plans else "",
        threads=threads or 0,
        device=device,
    )


def _plan(plan: Plan | None) -> tuple[str, str, str, int, int, int] | None:
    if plan is None:
        return None
    return (plan.file, plan.builder, plan.gpu, plan.slots, plan.prefill_tokens, plan.capacity)


def _row(tensor: StateTensor) -> tuple[str, str, str, str, list[int | str], bool, bool]:
    in_place = tensor.update == "in_place"
    shape = list(tensor.shape)
    names = (tensor.input, tensor.output, tensor.kind, tensor.dtype)
    return (*names, shape, in_place, tensor.rewindable)
