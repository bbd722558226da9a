"""``CausalConv1d`` in torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deltaport.custom_ops.definitions import CAUSAL_CONV1D
from deltaport.custom_ops.torch_bindings.symbolic import emit, valid_tokens

__all__ = ["causal_conv1d"]


def causal_conv1d(
    x: Tensor, weight: Tensor, state: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Depthwise causal convolution with SiLU.

    x [B,T,C], weight [C,K], state [B,K-1,C], lengths [B] -> y [B,T,C], new state [B,K-1,C].
    """
    if torch.compiler.is_exporting():
        y, new_state = emit(CAUSAL_CONV1D, (x, weight, state, lengths), (x.shape, state.shape))
        return y, new_state

    n_taps = weight.shape[1]
    valid = valid_tokens(lengths, x.shape[1])[..., None]
    ext = torch.cat([state, torch.where(valid, x, 0)], dim=1)  # [B,K-1+T,C]
    conv = F.conv1d(ext.transpose(1, 2), weight[:, None].to(x.dtype), groups=x.shape[2])
    y = F.silu(conv).transpose(1, 2)
    kept = lengths[:, None] + torch.arange(n_taps - 1, device=x.device)  # [B,K-1]
    new_state = ext.gather(1, kept[..., None].expand(-1, -1, x.shape[2]))
    return torch.where(valid, y, 0), new_state
