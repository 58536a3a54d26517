"""Encoders of vectors."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from skmm._checks import at_least_one, is_whole
from skmm.blocks._blocks import BlockInfo
from skmm.layers import DenseBlock, make_linear
from skmm.spec import INHERIT, register_encoder


@register_encoder("mlp")
class MLPEncoder(nn.Module):
    """Dense blocks (linear, LayerNorm, activation, dropout) on a vector; a sparse one is never made dense.

    Of a wide sparse block it reads the compressed copy where there is one (``sparse_components`` of the estimator).

    Parameters
    ----------
    hidden_dim : int, optional
        Width of every layer.
    n_layers : int
        Number of dense blocks.
    input_dropout : float
        Share of a dense vector's features dropped in training.
    dropout : float, optional
        Dropout after each block.
    norm : bool
        Whether to use LayerNorm (Ba et al. 2016).
    activation : str, optional
        Name of the activation.

    Raises
    ------
    ValueError
        If ``hidden_dim`` or ``n_layers`` is no whole number of 1 or more.

    Shape
    -----
    x (B, d) or SparseRows, mask (B,) -> (B, hidden_dim), (B,)

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.mlp import MLPEncoder
    >>> info = BlockInfo("vector", (5,))
    >>> encoder = MLPEncoder(info, False, hidden_dim=8, dropout=0.1, activation="relu")
    >>> vectors, mask = encoder(torch.ones(2, 5), torch.tensor([True, False]))
    >>> vectors.shape, mask.tolist()
    (torch.Size([2, 8]), [True, False])
    """

    kinds: ClassVar = ("vector", "sparse")

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 1,
        input_dropout: float = 0.0,
        dropout: float = INHERIT,
        norm: bool = True,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        if not is_whole(n_layers) or n_layers < 1:
            raise ValueError(f"n_layers={n_layers!r} must be at least 1; encoder 'identity' has no layer.")
        at_least_one(hidden_dim=hidden_dim)
        self.out_dim = hidden_dim
        self.compressed = info.n_components > 0
        kind, width = ("vector", info.n_components) if self.compressed else (info.kind, info.shape[0])
        layers: list[nn.Module] = []
        if input_dropout and kind == "vector":
            layers.append(nn.Dropout(input_dropout))
        for layer in range(n_layers):
            linear = make_linear(kind, width, hidden_dim) if layer == 0 else nn.Linear(hidden_dim, hidden_dim)
            layers.append(DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout, norm=norm))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(x.compressed if self.compressed else x), mask


@register_encoder("identity")
class IdentityEncoder(nn.Module):
    """The vector as it is: for features that need no encoder of their own.

    A sparse block becomes a dense one as a whole; ``"mlp"`` reads many columns as they are stored.

    Shape
    -----
    x (B, d), mask (B,) -> (B, d), (B,)

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.mlp import IdentityEncoder
    >>> info = BlockInfo("vector", (5,))
    >>> encoder = IdentityEncoder(info, False)
    >>> vectors, mask = encoder(torch.ones(2, 5), torch.tensor([True, False]))
    >>> vectors.shape, mask.tolist()
    (torch.Size([2, 5]), [True, False])
    """

    kinds: ClassVar = ("vector",)

    def __init__(self, info: BlockInfo, tokens: bool) -> None:
        super().__init__()
        self.out_dim = info.shape[0]

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return x, mask
