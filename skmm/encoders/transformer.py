"""Self-attention encoder of sequences."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.blocks._blocks import BlockInfo
from skmm.encoders.base import TokenOutput
from skmm.layers import TransformerBlock, add_positions
from skmm.spec import INHERIT, register_encoder


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
    statistics : bool
        Whether mean, deviation, minimum and maximum of each channel over all steps make the vector, too.
    dropout : float, optional
        Dropout inside the blocks and of the output.
    activation : str, optional
        Name of the activation.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``n_layers`` or ``n_segments`` is no whole number of 1 or more, or ``n_heads`` does not
        divide ``hidden_dim``.

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, hidden_dim), (B,) or tokens (B, T, hidden_dim), (B, T)

    References
    ----------
    Vaswani et al. 2017, Attention is all you need.

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.transformer import TransformerEncoder
    >>> info = BlockInfo("sequence", (3,))
    >>> encoder = TransformerEncoder(info, True, hidden_dim=8, dropout=0.1, activation="relu")
    >>> tokens, mask = encoder(torch.ones(2, 6, 3), torch.ones(2, 6, dtype=torch.bool))
    >>> tokens.shape
    torch.Size([2, 6, 8])
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
        statistics: bool = False,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, n_layers=n_layers)
        self.out_dim, self.statistics = hidden_dim, statistics
        size = math.prod(info.shape)
        self.project = nn.Linear(size, hidden_dim)
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
            n_channels=size if statistics else 0,
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        read = x.flatten(2), mask
        x = add_positions(self.project(read[0]))
        for block in self.blocks:
            x, _ = block(x, mask)
        return self.output(x, mask, read)
