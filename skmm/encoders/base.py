"""What sequence encoders share: the way from tokens to the output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skmm.layers import DenseBlock, masked_max, max_over_time


class TokenOutput(nn.Module):
    """Tokens of an encoder to its output: tokens of ``hidden_dim``, or one vector of ``hidden_dim``.

    The vector is the mean and the maximum over ``n_segments`` equal parts of each sample's own length, through
    one dense block. What stands at steps that do not exist may be any finite numbers. Tokens that are ``rectified``
    are never negative: then zeros win no maximum, and a product masks, in a third of the time.

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, T, hidden_dim), (B, T) or (B, hidden_dim), (B,)
    """

    def __init__(
        self,
        dim: int,
        tokens: bool,
        *,
        hidden_dim: int,
        n_segments: int,
        dropout: float,
        activation: str,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.rectified = rectified
        self.n_segments = n_segments
        linear = nn.Linear(dim if tokens else 2 * n_segments * dim, hidden_dim)
        self.block = DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.tokens:
            return self.block(x), mask
        length = mask.sum(-1, keepdim=True)  # (B, 1)
        step = torch.arange(x.shape[-2], device=x.device)
        insides = []
        for s in range(self.n_segments):
            # rounded outwards, so that a sample shorter than n_segments has no empty part
            start, stop = length * s // self.n_segments, -(-length * (s + 1) // self.n_segments)
            insides.append(mask & (step >= start) & (step < stop))
        inside = torch.stack(insides, -2)  # (B, S, T)
        weights = inside.to(x.dtype)
        means = weights / inside.sum(-1, keepdim=True).clamp(min=1) @ x  # (B, S, d)
        if self.rectified:
            tops = [max_over_time(x * weight.unsqueeze(-1)) for weight in weights.unbind(-2)]
        else:
            tops = [masked_max(x, part) for part in insides]
        return self.block(torch.stack([means, torch.stack(tops, -2)], -2).flatten(-3)), mask.any(-1)
