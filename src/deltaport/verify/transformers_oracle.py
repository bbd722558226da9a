"""The oracle of choice: transformers, in float32 with eager attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from deltaport.decoder_interface import tap_names
from deltaport.errors import CheckpointError
from deltaport.exporter.model_spec import ModelSpec, SparseMoeSpec
from deltaport.strict_json import one_line
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.oracle import Array, Reference, continue_greedily, smallest_margins
from deltaport.verify.round_matrices import round_matrices
from deltaport.verify.rounded_activations import RoundedActivations

__all__ = ["TransformersOracle"]


class TransformersOracle:
    """A checkpoint loaded by transformers; hooks on its modules read what it does not return."""

    def __init__(self, checkpoint: Path, spec: ModelSpec, rounding: MatrixRounding) -> None:
        self._checkpoint = checkpoint
        self._spec = spec
        self._model = _load(checkpoint, spec)
        quantized = round_matrices(self._model, rounding)
        self._products = RoundedActivations([] if rounding.dequantizes else quantized)
        self._taps: list[Tensor] = []
        self._router_logits: list[Tensor] = []
        self._model.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output: self._taps.append(output)
        )
        for module in self._model.modules():
            kind = type(module).__name__
            if kind.endswith("TopKRouter"):
                module.register_forward_hook(self._note_router)
            if kind.startswith("Qwen3_5") and kind.endswith("DecoderLayer"):
                # What the second norm reads is the residual stream after the mixer.
                module.post_attention_layernorm.register_forward_pre_hook(
                    lambda module, inputs: self._taps.append(inputs[0])
                )
                module.register_forward_hook(
                    lambda module, inputs, output: self._taps.append(output)
                )

    @property
    def name(self) -> str:
        """Library and version."""
        return f"transformers {transformers.__version__}"

    @torch.no_grad()
    def run(self, tokens: Sequence[int], *, new_tokens: int) -> Reference:
        """See :class:`deltaport.verify.oracle.Oracle`."""
        with _refusals(self._checkpoint, "run"), _quiet_transformers(), self._products:
            return self._run(tokens, new_tokens)

    def _run(self, tokens: Sequence[int], new_tokens: int) -> Reference:
        self._taps.clear()
        self._router_logits.clear()
        out = self._model(input_ids=torch.tensor([list(tokens)]), use_cache=True)
        names = tap_names(self._spec.num_layers)
        taps = {n: tap[0].float().numpy() for n, tap in zip(names, self._taps, strict=True)}
        margins = self._margins(len(tokens))
        cache = out.past_key_values
        state = _state(cache)
        logits: Array = out.logits[0].float().numpy()

        following_margins = [margins[-1:]]

        def step(token: int) -> Array:
            self._router_logits.clear()
            out = self._model(
                input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True
            )
            following_margins.append(self._margins(1))
            following: Array = out.logits[0, -1].float().numpy()
            return following

        greedy, greedy_logits = continue_greedily(logits[-1], step, new_tokens)
        greedy_margins = np.concatenate(following_margins)[:new_tokens]
        return Reference(logits, state, taps, margins, greedy, greedy_logits, greedy_margins)

    def _note_router(self, module: nn.Module, _: object, output: tuple[Tensor, ...]) -> None:
        self._router_logits.append(output[0])

    def _margins(self, tokens: int) -> Array:
        mlp = self._spec.mlp
        top_k = mlp.top_k if isinstance(mlp, SparseMoeSpec) else 0
        return smallest_margins([x.numpy() for x in self._router_logits], top_k, tokens)


def _load(checkpoint: Path, spec: ModelSpec) -> Any:
    """The checkpoint's class with a language-model head, whatever ``architectures`` says."""
    stem = "Qwen3_5Moe" if spec.is_moe else "Qwen3_5"
    name = f"{stem}{'ForConditionalGeneration' if spec.wrapped else 'ForCausalLM'}"
    with _refusals(checkpoint, "load"), _quiet_transformers():
        model = getattr(transformers, name).from_pretrained(  # absent from an old transformers
            checkpoint,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
        )
    return model.eval()


@contextmanager
def _refusals(checkpoint: Path, what: str) -> Iterator[None]:
    """``CheckpointError`` for what transformers cannot do; it raises classes of many kinds."""
    try:
        yield
    except Exception as error:
        said = one_line((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise CheckpointError(
            f"{checkpoint}: transformers {transformers.__version__} cannot {what} it: "
            f"{said.rstrip('.')}; compare with --oracle eager"
        ) from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back its progress bar, and what it says of unused tensors and of missing kernels."""
    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _state(cache: Any) -> dict[str, Array]:
    """Copies of the cache's tensors, under the engine's names and in its layouts."""
    state: dict[str, Tensor] = {}
    for i, layer in enumerate(cache.layers):
        if hasattr(layer, "conv_states"):
            # transformers keeps one more column than the next token needs.
            width = layer.conv_kernel_size[0] - 1
            state[f"past.{i}.conv"] = layer.conv_states[0][:, :, -width:].transpose(1, 2)
            state[f"past.{i}.recurrent"] = layer.recurrent_states[0]
        else:
            state[f"past.{i}.key"] = layer.keys
            state[f"past.{i}.value"] = layer.values
    return {name: np.array(tensor.numpy(), dtype=np.float32) for name, tensor in state.items()}
