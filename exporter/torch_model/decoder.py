"""The decoder: embedding, hybrid layers, final norm, and logits for the rows somebody reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional as F

from deltaport.custom_ops.torch_bindings import gemm_transposed
from deltaport.exporter.model_spec import DenseMlpSpec, ModelSpec
from deltaport.exporter.state_layout_of_spec import state_layout_of_spec
from deltaport.exporter.torch_model.feed_forward import DenseMlp, SparseMoeBlock
from deltaport.exporter.torch_model.gated_attention import GatedAttention
from deltaport.exporter.torch_model.gated_delta_net import GatedDeltaNet
from deltaport.exporter.torch_model.layers import Linear, ZeroCentredRMSNorm
from deltaport.exporter.torch_model.rotary import inverse_frequencies, rotary_cos_sin

__all__ = ["Decoder", "DecoderState"]

DecoderState = list[Tensor]
"""State tensors in the order of ``state_layout_of_spec``: two a layer."""


class DecoderLayer(nn.Module):
    """Pre-norm residual layer: a mixer over time, then a feed-forward over features."""

    def __init__(self, spec: ModelSpec, layer: int) -> None:
        super().__init__()
        self.is_attention = spec.layer_kinds[layer] == "full_attention"
        if self.is_attention:
            self.self_attn = GatedAttention(spec)
        else:
            self.linear_attn = GatedDeltaNet(spec)
        self.mlp = (
            DenseMlp(spec.hidden_size, spec.mlp.intermediate_size)
            if isinstance(spec.mlp, DenseMlpSpec)
            else SparseMoeBlock(spec.hidden_size, spec.mlp)
        )
        self.input_layernorm = ZeroCentredRMSNorm(spec.hidden_size, spec.rms_norm_eps)
        self.post_attention_layernorm = ZeroCentredRMSNorm(spec.hidden_size, spec.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        state: tuple[Tensor, Tensor],
        lengths: Tensor,
        past_lengths: Tensor,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """X [B,T,H] -> x after the mixer, after the feed-forward, and two new state tensors."""
        normed = self.input_layernorm(x)
        if self.is_attention:
            mixed, *new = self.self_attn(normed, rotary, *state, lengths, past_lengths)
        else:
            mixed, *new = self.linear_attn(normed, *state, lengths)
        x = x + mixed
        return x, x + self.mlp(self.post_attention_layernorm(x), lengths), (new[0], new[1])


class TextModel(nn.Module):
    """Embedding, layers and final norm, under the names checkpoints use."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(spec, i) for i in range(spec.num_layers))
        self.norm = ZeroCentredRMSNorm(spec.hidden_size, spec.rms_norm_eps)


class Decoder(nn.Module):
    """Token ids in, logits and new state out; the decoder graph of an engine."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        # Numbers, even while fake tensors stand for everything else: they end up in the graph.
        with unset_fake_temporarily():
            self.frequencies: list[float] = inverse_frequencies(spec.rope).tolist()
        self.model = TextModel(spec)
        if not spec.tie_word_embeddings:
            self.lm_head = Linear(spec.hidden_size, spec.vocab_size)

    @property
    def head_weight(self) -> Tensor:
        """The output projection [V,H]; the embedding table where the two are tied."""
        tied = self.spec.tie_word_embeddings
        return self.model.embed_tokens.weight if tied else self.lm_head.weight

    def initial_state(self, slots: int, capacity: int) -> DecoderState:
        """Zero state for ``slots`` sequences of at most ``capacity`` tokens."""
        return [
            torch.zeros(tensor.concrete_shape(slots, capacity))
            for tensor in state_layout_of_spec(self.spec)
        ]

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        lengths: Tensor,
        past_lengths: Tensor,
        logit_index: Tensor,
        state: Sequence[Tensor],
    ) -> tuple[Tensor, DecoderState, list[Tensor]]:
        """One step.

        input_ids [B,T], positions [3,B,T], lengths [B], past_lengths [B] and logit_index [R]
        (into the flattened [B*T]) are int64; logits [R,V] are float32. Last comes the residual
        stream [B,T,H] at each of ``tap_names``.
        """
        x = F.embedding(input_ids, self.model.embed_tokens.weight).float()
        frequency = torch.tensor(self.frequencies, dtype=torch.float32, device=x.device)
        rotary = rotary_cos_sin(self.spec.rope, frequency, positions)
        new_state: DecoderState = []
        taps = [x]
        for i, layer in enumerate(self.model.layers):
            mixed, x, new = layer(
                x, rotary, (state[2 * i], state[2 * i + 1]), lengths, past_lengths
            )
            new_state += new
            taps += [mixed, x]
        read = x.flatten(0, 1).index_select(0, logit_index)  # [R,H]
        logits = gemm_transposed(self.model.norm(read), self.head_weight.to(read.dtype))
        return logits, new_state, taps
