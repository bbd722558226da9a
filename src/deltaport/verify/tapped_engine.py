"""An engine one can look inside of: the residual stream of every layer beside its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from deltaport.decoder_interface import tap_names
from deltaport.errors import EngineError
from deltaport.package import Manifest
from deltaport.runtime import Engine, _native
from deltaport.runtime.engine import Device, open_decoder
from deltaport.runtime.session_state import NUMPY_DTYPES
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
        self, folder: Path, manifest: Manifest, native: _native.Engine, names: list[str]
    ) -> None:
        super().__init__(folder, manifest, native)
        self._names = names
        self._notes = _Notes(manifest.state.activation_dtype)
        self.observer = self._notes

    @classmethod
    def tap(
        cls,
        folder: Path,
        manifest: Manifest,
        *,
        num_layers: int,
        hidden_size: int,
        threads: int | None = None,
        device: Device | None = None,
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
                folder,
                manifest,
                graph=model.SerializeToString(),
                taps=names,
                threads=threads,
                device=device,
            )
        except EngineError as error:  # it opened as it is: only what was added is new
            raise EngineError(
                f"{path}: its values named after layers are not what those give; export the engine "
                "again"
            ) from error
        return cls(folder, manifest, decoder, names)

    def take_taps(self) -> dict[str, Array]:
        """The taps [n,H] of the first row's n tokens, in all steps since this was last called."""
        steps, self._notes.steps = self._notes.steps, []
        return {name: np.concatenate([taps[name][0] for taps in steps]) for name in self._names}


class _Notes:
    """Keeps the taps [B,T,H] of every step, in float32."""

    def __init__(self, dtype: str) -> None:
        self.steps: list[dict[str, Array]] = []
        self._dtype = dtype

    def before(self, inputs: Mapping[str, NDArray[np.int64]]) -> None:
        """Nothing is wanted of what a step is fed."""

    def after(
        self, logits: NDArray[np.float32], taps: Mapping[str, tuple[NDArray[np.uint8], list[int]]]
    ) -> None:
        """Note the taps of the step."""
        kind = NUMPY_DTYPES[self._dtype]
        self.steps.append(
            {
                name: in_float32(data.view(kind).reshape(shape), self._dtype)
                for name, (data, shape) in taps.items()
            }
        )


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
