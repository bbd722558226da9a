"""The Qwen3.5 decoder in torch: runnable and differentiable in eager mode, exported as coarse ops.

Parameter names are those of transformers' text model (``model.layers.0.linear_attn...``), so a
checkpoint, an exported graph and a training script speak of the same tensors.
"""

from deltaport.exporter.torch_model.decoder import Decoder, DecoderState

__all__ = ["Decoder", "DecoderState"]
