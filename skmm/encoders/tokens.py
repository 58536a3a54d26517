"""Encoder of integer tokens."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.blocks._blocks import BlockInfo
from skmm.encoders.base import TokenOutput
from skmm.layers import keep
from skmm.spec import INHERIT, register_encoder


@register_encoder("embedding")
class EmbeddingEncoder(nn.Module):
    """A learned vector per id that training saw.

    An estimator numbers the ids of training anew, 0, 1, 2, ..., so that they may be as large and as far apart as
    they like. An id that was not among them adds nothing, as scikit-learn's vectorizers ignore unseen words; nor
    does one that comes only with a later ``partial_fit``, or with ``warm_start`` in a later ``fit``.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the embeddings and of the output.
    n_segments : int
        Parts of the sequence whose mean and maximum make the vector.
    dropout : float, optional
        Dropout of the output.
    activation : str, optional
        Name of the activation of the output.

    Raises
    ------
    ValueError
        If ``hidden_dim`` or ``n_segments`` is no whole number of 1 or more.

    Shape
    -----
    x (B, T) int64, mask (B, T) -> (B, hidden_dim), (B,) or tokens (B, T, hidden_dim), (B, T)

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.tokens import EmbeddingEncoder
    >>> info = BlockInfo("tokens", (100,))
    >>> encoder = EmbeddingEncoder(info, False, hidden_dim=8, dropout=0.1, activation="relu")
    >>> ids, there = torch.tensor([[5, 17, 2], [99, 100, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()
    >>> vectors, mask = encoder(ids, there)
    >>> vectors.shape, mask.tolist()
    (torch.Size([2, 8]), [True, True])
    """

    kinds: ClassVar = ("tokens",)
    numbers_ids: ClassVar = True

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        n_segments: int = 1,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim)
        self.out_dim = hidden_dim
        self.n_ids = info.shape[0]
        self.embedding = nn.Embedding(self.n_ids, hidden_dim)
        self.output = TokenOutput(
            hidden_dim,
            tokens,
            hidden_dim=hidden_dim,
            n_segments=n_segments,
            dropout=dropout,
            activation=activation,
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        known = mask & (x < self.n_ids)
        embedded = self.embedding(torch.where(known, x, 0))
        # a step keeps its place in the sequence if its id is unknown; it adds nothing
        return self.output(keep(embedded, known), mask)
