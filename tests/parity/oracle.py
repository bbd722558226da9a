"""The reference: transformers, fp32, eager attention, in the same process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["GREEDY_TOKENS", "MARGIN", "Oracle", "Reference"]

GREEDY_TOKENS = 32
MARGIN = 1e-4
"""Router margin, in logits, that fixtures keep: below it rounding may choose another expert."""


@dataclass(frozen=True)
class Reference:
    """What transformers makes of one prompt.

    ``logits`` [n,V] after each prompt token; ``state`` by engine input name, after the prompt;
    ``greedy`` the tokens that follow; ``margin`` the smallest gap between the last expert chosen
    and the first not chosen, over all layers and tokens (infinite for a dense model).
    """

    prompt: list[int]
    logits: NDArray[np.float32]
    state: dict[str, NDArray[np.float32]]
    greedy: list[int]
    margin: float


class Oracle:
    """A checkpoint loaded by transformers."""

    def __init__(self, checkpoint: Path) -> None:
        config = transformers.AutoConfig.from_pretrained(checkpoint)
        loader = getattr(transformers, config.architectures[0])
        self.model = loader.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self._margins: list[float] = []
        for module in self.model.modules():
            if type(module).__name__.endswith("TopKRouter"):
                module.register_forward_hook(self._note_margin)

    def _note_margin(self, router: nn.Module, _: object, output: tuple[Tensor, ...]) -> None:
        logits = output[0].float().sort(dim=-1, descending=True).values
        top_k: Any = router.top_k
        if top_k < logits.shape[-1]:
            self._margins.append(float((logits[:, top_k - 1] - logits[:, top_k]).min()))

    @torch.no_grad()
    def run(self, prompt: list[int]) -> Reference:
        """Prompt and greedy continuation, with the margin met on the way."""
        self._margins.clear()
        out = self.model(input_ids=torch.tensor([prompt]), use_cache=True)
        state = _state(out.past_key_values)
        logits = out.logits[0].numpy()
        greedy = [int(logits[-1].argmax())]
        while len(greedy) < GREEDY_TOKENS:
            out = self.model(
                input_ids=torch.tensor([greedy[-1:]]),
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            greedy.append(int(out.logits[0, -1].argmax()))
        return Reference(prompt, logits, state, greedy, min(self._margins, default=float("inf")))

    def prompt_with_margin(self, seed: int, length: int, *, repeat: bool = False) -> Reference:
        """The first random prompt of ``length`` that keeps the margin; with ``repeat`` one token.

        Deterministic: prompts are drawn in order from ``seed``.
        """
        rng = np.random.default_rng([seed, length, repeat])
        vocab = self.model.get_input_embeddings().num_embeddings
        for _ in range(50):
            tokens = rng.integers(0, vocab, 1 if repeat else length)
            reference = self.run(np.resize(tokens, length).tolist())
            if reference.margin > MARGIN:
                return reference
        raise AssertionError(f"no prompt of {length} tokens keeps a router margin of {MARGIN}")


def _state(cache: Any) -> dict[str, NDArray[np.float32]]:
    """The cache's tensors under the engine's names and layouts."""
    state: dict[str, Tensor] = {}
    for i, layer in enumerate(cache.layers):
        if hasattr(layer, "conv_states"):
            width = layer.conv_kernel_size[0] - 1
            state[f"past.{i}.conv"] = layer.conv_states[0][:, :, -width:].transpose(1, 2)
            state[f"past.{i}.recurrent"] = layer.recurrent_states[0]
        else:
            state[f"past.{i}.key"] = layer.keys
            state[f"past.{i}.value"] = layer.values
    return {name: tensor.clone().numpy() for name, tensor in state.items()}
