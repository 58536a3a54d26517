"""Conformer encoder of sequences."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import at_least_one, check_width
from skmm.blocks._blocks import BlockInfo
from skmm.encoders.base import TokenOutput
from skmm.layers import Attention, add_positions, keep
from skmm.spec import INHERIT, register_encoder


class _FeedForward(nn.Sequential):
    """Figure 4 of Gulati et al."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim)
        )


class _Convolution(nn.Module):
    """Figure 2 of Gulati et al., with LayerNorm for BatchNorm: samples never see each other."""

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm2 = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = F.glu(self.gate(self.norm1(x)), -1)
        # zeros after a sample's end, as the convolution itself pads: so padding changes nothing
        x = self.depthwise(keep(x, mask).transpose(-1, -2)).transpose(-1, -2)
        return self.out(F.silu(self.norm2(x)))


class _Block(nn.Module):
    """Equation 1 of Gulati et al."""

    def __init__(self, dim: int, *, n_heads: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.before = _FeedForward(dim, dropout)
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, n_heads=n_heads, dropout=dropout)
        self.convolution = _Convolution(dim, kernel_size)
        self.after = _FeedForward(dim, dropout)
        self.last_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + 0.5 * self.dropout(self.before(x))
        normed = self.norm(x)
        x = x + self.dropout(self.attention(normed, normed, mask)[0])
        x = x + self.dropout(self.convolution(x, mask))
        x = x + 0.5 * self.dropout(self.after(x))
        return self.last_norm(x)


@register_encoder("conformer")
class ConformerEncoder(nn.Module):
    """Conformer: self-attention and convolution over the steps, between two halves of a feed-forward network.

    Positions are sinusoids added to the input, where the paper's attention reads relative ones, and LayerNorm
    stands for BatchNorm, so that no sample depends on others of its batch.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the tokens and of the output. The paper's smallest is 144.
    n_layers : int
        Number of blocks. The paper's smallest network has 16.
    n_heads : int
        Attention heads; must divide ``hidden_dim``. The paper's are 4 or 8.
    kernel_size : int
        Odd width of the convolution over the steps. The paper's is 32 (even; 31 in common use).
    n_segments : int
        Parts of the sequence whose mean and maximum make the vector.
    statistics : bool
        Whether mean, deviation, minimum and maximum of each channel over all steps make the vector, too.
    dropout : float, optional
        Dropout inside the blocks and of the output. The paper's is 0.1.
    activation : str, optional
        Name of the activation of the output; inside the blocks it is SiLU, as in the paper.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``n_layers`` or ``n_segments`` is no whole number of 1 or more, ``kernel_size`` no odd
        one, or ``n_heads`` does not divide ``hidden_dim``.

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, hidden_dim), (B,) or tokens (B, T, hidden_dim), (B, T)

    References
    ----------
    Gulati et al. 2020, Conformer: convolution-augmented transformer for speech recognition, equation 1.

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.conformer import ConformerEncoder
    >>> info = BlockInfo("sequence", (3,))
    >>> encoder = ConformerEncoder(info, True, hidden_dim=8, dropout=0.1, activation="relu")
    >>> tokens, mask = encoder(torch.ones(2, 6, 3), torch.ones(2, 6, dtype=torch.bool))
    >>> tokens.shape
    torch.Size([2, 6, 8])
    """

    kinds: ClassVar = ("sequence",)
    source = "Gulati et al. 2020, eq. 1"

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 2,
        n_heads: int = 4,
        kernel_size: int = 15,
        n_segments: int = 1,
        statistics: bool = False,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, n_layers=n_layers)
        check_width(kernel_size, "step")
        self.out_dim, self.statistics = hidden_dim, statistics
        size = math.prod(info.shape)
        self.project = nn.Linear(size, hidden_dim)
        self.blocks = nn.ModuleList(
            _Block(hidden_dim, n_heads=n_heads, kernel_size=kernel_size, dropout=dropout) for _ in range(n_layers)
        )
        self.output = TokenOutput(
            hidden_dim,
            tokens,
            hidden_dim=hidden_dim,
            n_segments=n_segments,
            dropout=dropout,
            activation=activation,
            n_channels=size if statistics else 0,
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        read = x.flatten(2), mask
        x = add_positions(self.project(read[0]))
        for block in self.blocks:
            x = block(x, mask)
        return self.output(x, mask, read)
