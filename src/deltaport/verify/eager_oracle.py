"""The oracle without transformers: the exporter's own torch modules, run eagerly in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from deltaport.decoder_interface import tap_names
from deltaport.exporter.export_plan import CheckedCheckpoint
from deltaport.exporter.model_spec import SparseMoeSpec
from deltaport.exporter.state_layout_of_spec import state_layout_of_spec
from deltaport.exporter.torch_model import Decoder, DecoderState
from deltaport.graph_passes.recipes.evaluate_recipe import pieces
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.oracle import Array, Reference, continue_greedily, smallest_margins
from deltaport.verify.round_matrices import round_matrices
from deltaport.verify.rounded_activations import RoundedActivations

__all__ = ["EagerOracle"]

_PIECE = 64 << 20
"""Bytes of a weight in memory beside the model itself."""


class EagerOracle:
    """A checkpoint, still open, loaded into our modules.

    It shares with the engine how tensors are named and combined, and the modules an engine is
    traced from: it finds what tracing, passes, writing and the runtime get wrong, and nothing that
    the modules themselves do.
    """

    name = "deltaport's eager modules"

    def __init__(self, checkpoint: CheckedCheckpoint, rounding: MatrixRounding) -> None:
        self._decoder = _load(checkpoint)
        quantized = round_matrices(self._decoder, rounding)
        self._products = RoundedActivations([] if rounding.dequantizes else quantized)
        self._layout = state_layout_of_spec(checkpoint.spec)
        self._router_logits: list[Tensor] = []
        for name, module in self._decoder.named_modules():
            if name.endswith(".mlp.gate"):
                module.register_forward_hook(self._note_router)

    @torch.no_grad()
    def run(self, tokens: Sequence[int], *, new_tokens: int) -> Reference:
        """See :class:`deltaport.verify.oracle.Oracle`."""
        n, spec = len(tokens), self._decoder.spec
        logits, state, taps = self._step(
            tokens, 0, self._decoder.initial_state(1, n + max(new_tokens, 1))
        )
        margins = self._margins(n)
        # Copies of what the state is now: the continuation goes on with these very tensors.
        seen = {
            tensor.input: np.array((value[:, :, :n] if tensor.kind == "kv" else value).numpy())
            for tensor, value in zip(self._layout, state, strict=True)
        }
        read = n
        following_margins = [margins[-1:]]

        def step(token: int) -> Array:
            nonlocal state, read
            following, state, _ = self._step([token], read, state)
            read += 1
            following_margins.append(self._margins(1))
            last: Array = following[-1]
            return last

        greedy, greedy_logits = continue_greedily(logits[-1], step, new_tokens)
        names = tap_names(spec.num_layers)
        by_name = {name: tap[0].numpy() for name, tap in zip(names, taps, strict=True)}
        greedy_margins = np.concatenate(following_margins)[:new_tokens]
        return Reference(logits, seen, by_name, margins, greedy, greedy_logits, greedy_margins)

    def _step(
        self, tokens: Sequence[int], past: int, state: DecoderState
    ) -> tuple[Array, DecoderState, list[Tensor]]:
        n = len(tokens)
        self._router_logits.clear()
        positions = torch.arange(past, past + n).expand(3, 1, n)
        with self._products:
            logits, state, taps = self._decoder(
                torch.tensor([list(tokens)]),
                positions,
                torch.tensor([n]),
                torch.tensor([past]),
                torch.arange(n),
                state,
            )
        return logits.numpy(), state, taps

    def _margins(self, tokens: int) -> Array:
        """Of the last step."""
        mlp = self._decoder.spec.mlp
        top_k = mlp.top_k if isinstance(mlp, SparseMoeSpec) else 0
        return smallest_margins([x[0].numpy() for x in self._router_logits], top_k, tokens)

    def _note_router(self, module: nn.Module, _: object, output: Tensor) -> None:
        self._router_logits.append(output)


@torch.no_grad()
def _load(checkpoint: CheckedCheckpoint) -> Decoder:
    """The decoder with the checkpoint's weights, read a piece at a time."""
    decoder = Decoder(checkpoint.spec).eval()
    parameters = dict(decoder.named_parameters())
    weights = checkpoint.weights
    for name, recipe in checkpoint.binding.recipes.items():
        for region in pieces(recipe.shape, np.dtype(np.float32).itemsize, _PIECE):
            values = np.array(recipe.read(weights, region), dtype=np.float32)
            place = tuple(slice(*bounds) for bounds in region)
            parameters[name][place].copy_(torch.from_numpy(values))
        for source in recipe.sources():
            weights.release(source)
    return decoder
