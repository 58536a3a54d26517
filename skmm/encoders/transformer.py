"""Self-attention encoder of sequences."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from skmm.blocks import BlockInfo
from skmm.encoders.base import TokenOutput
from skmm.layers import Attention, make_activation
from skmm.spec import INHERIT, register_encoder


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward network, each on its normalised input and added to it (pre-norm).

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, T, d)

    References
    ----------
    Vaswani et al. 2017; the order of normalisation after Xiong et al. 2020.
    """

    def __init__(self, dim: int, *, n_heads: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, n_heads=n_heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 2 * dim), make_activation(activation), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, mask)[0]
        return x + self.feed_forward(self.norm2(x))


def sinusoidal_positions(length: int, dim: int, like: Tensor) -> Tensor:
    """Sines and cosines of geometric frequencies, shape (length, dim): Vaswani et al. 2017, section 3.5."""
    step = torch.arange(length, device=like.device, dtype=like.dtype).unsqueeze(-1)
    half = torch.arange(0, dim, 2, device=like.device, dtype=like.dtype)
    angle = step * torch.exp(half * (-math.log(10000.0) / dim))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)[:, :dim]


@register_encoder("transformer")
class TransformerEncoder(nn.Module):
    """Transformer over the steps of a sequence, with sinusoidal positions.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the tokens and of the output.
    n_layers : int
        Number of pre-norm blocks.
    n_heads : int
        Attention heads; must divide ``hidden_dim``.
    n_segments : int
        Parts of the sequence whose mean and maximum make the vector.
    dropout : float, optional
        Dropout inside the blocks and of the output.
    activation : str, optional
        Name of the activation.

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, hidden_dim), (B,) or tokens (B, T, hidden_dim), (B, T)

    References
    ----------
    Vaswani et al. 2017, Attention is all you need.
    """

    kinds: ClassVar = ("sequence",)
    source = "Vaswani et al. 2017"

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 1,
        n_heads: int = 4,
        n_segments: int = 1,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        self.out_dim = hidden_dim
        self.project = nn.Linear(math.prod(info.shape), hidden_dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(hidden_dim, n_heads=n_heads, dropout=dropout, activation=activation)
            for _ in range(n_layers)
        )
        self.output = TokenOutput(
            hidden_dim,
            tokens,
            hidden_dim=hidden_dim,
            n_segments=n_segments,
            dropout=dropout,
            activation=activation,
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.project(x.flatten(2))
        x = x + sinusoidal_positions(x.shape[1], x.shape[2], x)
        for block in self.blocks:
            x = block(x, mask)
        return self.output(x, mask)
