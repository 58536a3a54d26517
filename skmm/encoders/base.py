"""What sequence encoders share: the way from tokens to the output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skmm.layers import DenseBlock, masked_max


class TokenOutput(nn.Module):
    """Tokens of an encoder to its output: tokens of ``hidden_dim``, or one vector of ``hidden_dim``.

    The vector is the mean and the maximum over ``n_segments`` equal parts of each sample's own length, through
    one dense block.

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, T, hidden_dim), (B, T) or (B, hidden_dim), (B,)
    """

    def __init__(
        self, dim: int, tokens: bool, *, hidden_dim: int, n_segments: int, dropout: float, activation: str
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.n_segments = n_segments
        linear = nn.Linear(dim if tokens else 2 * n_segments * dim, hidden_dim)
        self.block = DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.tokens:
            return self.block(x), mask
        parts = []
        length = mask.sum(-1, keepdim=True)  # (B, 1)
        step = torch.arange(x.shape[-2], device=x.device)
        for s in range(self.n_segments):
            # rounded outwards, so that a sample shorter than n_segments has no empty part
            start, stop = length * s // self.n_segments, -(-length * (s + 1) // self.n_segments)
            inside = mask & (step >= start) & (step < stop)
            weight = inside.to(x.dtype) / inside.sum(-1, keepdim=True).clamp(min=1)
            parts += [(weight.unsqueeze(-2) @ x).squeeze(-2), masked_max(x, inside)]
        return self.block(torch.cat(parts, -1)), mask.any(-1)
