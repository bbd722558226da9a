"""An engine one can look inside of: the residual stream of every layer beside its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from deltaport.decoder_interface import tap_names
from deltaport.errors import EngineError
from deltaport.package import Manifest
from deltaport.runtime import Engine
from deltaport.runtime.engine import open_decoder
from deltaport.runtime.state_buffers import NUMPY_DTYPES
from deltaport.verify.engine_run import in_float32
from deltaport.verify.oracle import Array

__all__ = ["TappedEngine"]


_ONNX_DTYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "bfloat16": onnx.TensorProto.BFLOAT16,
}


class TappedEngine(Engine):
    """An engine whose steps also note the residual stream at ``tap_names``; see :meth:`tap`."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        decoder: ort.InferenceSession,
        names: list[str],
        hidden_size: int,
    ) -> None:
        super().__init__(folder, manifest, decoder)
        self._names = names
        self._hidden_size = hidden_size
        self._dtype = manifest.state.activation_dtype
        if self._dtype == "bfloat16":
            self._bfloat16.update(names)
        self._steps: list[list[Array]] = []

    @classmethod
    def tap(
        cls,
        folder: Path,
        manifest: Manifest,
        *,
        num_layers: int,
        hidden_size: int,
        threads: int | None = None,
    ) -> TappedEngine:
        """Load the graph of an engine that opens, with its taps as further outputs.

        Weights stay where they are. Raises ``EngineError`` where the graph has no such values.
        """
        path = folder / manifest.decoder
        model = onnx.load(str(path), load_external_data=False)
        names = tap_names(num_layers)
        kind = _ONNX_DTYPES[manifest.state.activation_dtype]
        _add_outputs(model, names, str(path), hidden_size, kind)
        try:
            decoder = open_decoder(
                model.SerializeToString(), manifest, threads=threads, weights=folder
            )
        except Exception as error:  # as in Engine, which opened it: only what was added is new
            raise EngineError(
                f"{path}: its values named after layers are not what those give; export the engine "
                "again"
            ) from error
        return cls(folder, manifest, decoder, names, hidden_size)

    def run_step(
        self,
        inputs: Sequence[tuple[str, NDArray[Any]]],
        outputs: Sequence[tuple[str, NDArray[Any]]],
    ) -> None:
        """As an engine does, noting the taps of the step."""
        ids = dict(inputs)["input_ids"]
        shape, kind = (*ids.shape, self._hidden_size), NUMPY_DTYPES[self._dtype]
        taps = [np.empty(shape, dtype=kind) for _ in self._names]
        super().run_step(inputs, [*outputs, *zip(self._names, taps, strict=True)])
        self._steps.append([in_float32(tap, self._dtype) for tap in taps])

    def take_taps(self) -> dict[str, Array]:
        """The taps [n,H] of the first row's n tokens, in all steps since this was last called."""
        steps, self._steps = self._steps, []
        return {
            name: np.concatenate([taps[i][0] for taps in steps])
            for i, name in enumerate(self._names)
        }


def _add_outputs(
    model: onnx.ModelProto, names: Sequence[str], path: str, hidden: int, kind: int
) -> None:
    inside = {name for node in model.graph.node for name in node.output}
    for name in names:
        if name not in inside:
            raise EngineError(
                f"{path}: has no value {name!r}, which shows what a layer gives; export the "
                "engine again with this deltaport"
            )
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, kind, ["batch", "tokens", hidden])
        )
