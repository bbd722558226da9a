"""The demo model: the decoder that engines are traced from, and a multi-token-prediction head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.torch_model import Decoder
from deltaport.exporter.torch_model.decoder import DecoderLayer
from deltaport.exporter.torch_model.layers import Linear, ZeroCentredRMSNorm
from deltaport.exporter.torch_model.rotary import rotary_cos_sin
from examples.train_demo.initialise import initialise

__all__ = ["DemoModel"]


class MultiTokenPrediction(nn.Module):
    """Guesses the token after the next with one full-attention layer.

    Input: ``fc [norm(embedding of the next token); norm(final hidden state)]``, where the final
    hidden state is the one behind the decoder's last norm.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        hidden, eps = spec.hidden_size, spec.rms_norm_eps
        self.pre_fc_norm_embedding = ZeroCentredRMSNorm(hidden, eps)
        self.pre_fc_norm_hidden = ZeroCentredRMSNorm(hidden, eps)
        self.fc = Linear(2 * hidden, hidden)
        self.layers = nn.ModuleList([DecoderLayer(spec, spec.layers_of("full_attention")[0])])
        self._cache = (spec.attention.num_key_value_heads, spec.attention.head_dim)
        self.norm = ZeroCentredRMSNorm(hidden, eps)

    def forward(self, embedded: Tensor, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Embeddings and final hidden states [B,T,H] -> hidden states [B,T-1,H].

        Place t joins hidden state t with the embedding of token t + 1, and stands at t + 1.
        """
        joined = torch.cat(
            [self.pre_fc_norm_embedding(embedded[:, 1:]), self.pre_fc_norm_hidden(hidden[:, :-1])],
            dim=-1,
        )
        B, T, _ = joined.shape
        heads, head_dim = self._cache
        cache = torch.zeros(B, heads, T, head_dim)
        lengths, past_lengths = torch.full((B,), T), torch.zeros(B, dtype=torch.int64)
        later = (rotary[0][:, 1:], rotary[1][:, 1:])
        _, x, _ = self.layers[0](self.fc(joined), later, (cache, cache), lengths, past_lengths)
        normed: Tensor = self.norm(x)
        return normed


class DemoModel(nn.Module):
    """Decoder and head under the names checkpoints use: ``model.*``, ``lm_head.*``, ``mtp.*``."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        decoder = Decoder(spec)
        self.model, self.lm_head = decoder.model, decoder.lm_head
        self.mtp = MultiTokenPrediction(spec)
        self._decoder = (decoder,)  # in a tuple, so that its parameters are not there twice
        self.router_logits: list[Tensor] = []
        """Of the last forward pass, [B,T,E] a layer, the head's last."""
        layers = [*self.model.layers, *self.mtp.layers]
        for layer in layers:
            layer.mlp.gate.register_forward_hook(self._note_router)
        self.num_routers = len(layers)
        initialise(self)

    def _note_router(self, _: nn.Module, __: object, output: Tensor) -> None:
        self.router_logits.append(output)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids [B,T] -> logits [B,T,V] of the next token, and [B,T-1,V] of the one after it."""
        self.router_logits.clear()
        [decoder] = self._decoder
        B, T = ids.shape
        positions = torch.arange(T).expand(3, B, T)
        logits, _, taps = decoder(
            ids,
            positions,
            torch.full((B,), T),
            torch.zeros(B, dtype=torch.int64),
            torch.arange(B * T),
            decoder.initial_state(B, T),
        )
        embedded, hidden = taps[0], self.model.norm(taps[-1])
        rotary = rotary_cos_sin(self.spec.rope, torch.tensor(decoder.frequencies), positions)
        return logits.view(B, T, -1), self.lm_head(self.mtp(embedded, hidden, rotary))
