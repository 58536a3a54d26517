"""What sequence encoders share: the way from tokens to the output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.layers import N_STATISTICS, DenseBlock, masked_max, masked_statistics, max_over_time


class TokenOutput(nn.Module):
    """Tokens of an encoder to its output: tokens of ``hidden_dim``, or one vector of ``hidden_dim``.

    The vector is the mean and the maximum over ``n_segments`` equal parts of each sample's own length, through
    one dense block. What stands at steps that do not exist may be any finite numbers. Tokens that are ``rectified``
    are never negative: then zeros win no maximum, and a product masks, in a third of the time.

    Statistics of the steps that the encoder ``read``, of ``n_channels`` each, join the vector: what a linear model
    or trees would see of a sequence, the network then need not find out.

    Shape
    -----
    x (B, T, d), mask (B, T), read (B, S, n_channels), (B, S)
    -> (B, T, hidden_dim), (B, T) or (B, hidden_dim), (B,)
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
        n_channels: int = 0,
    ) -> None:
        super().__init__()
        at_least_one(n_segments=n_segments)
        self.tokens = tokens
        self.rectified = rectified
        self.n_segments = n_segments
        self.n_channels = n_channels
        linear = nn.Linear(dim if tokens else 2 * n_segments * dim + N_STATISTICS * n_channels, hidden_dim)
        self.block = DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout)

    def forward(self, x: Tensor, mask: Tensor, read: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
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
        vector = torch.stack([means, torch.stack(tops, -2)], -2).flatten(-3)
        if self.n_channels and read is not None:
            vector = torch.cat([vector, masked_statistics(*read)], -1)
        return self.block(vector), mask.any(-1)
