"""Recurrent encoders of sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.blocks._blocks import BlockInfo
from skmm.encoders.base import TokenOutput
from skmm.spec import INHERIT, register_encoder


@torch.library.custom_op("skmm::recurrent", mutates_args=())
def _recurrent(x: Tensor, weights: Sequence[Tensor], cell: str, n_layers: int) -> Tensor:
    """What torch's recurrent layers give, as one operation: their own export fixes the number of steps."""
    hidden = x.new_zeros(n_layers, x.shape[0], weights[1].shape[1])
    options = (True, n_layers, 0.0, False, False, True)  # biases, no dropout, one direction, samples first
    if cell == "GRU":
        return torch.gru(x, hidden, list(weights), *options)[0]
    return torch.lstm(x, (hidden, hidden), list(weights), *options)[0]


@_recurrent.register_fake
def _(x: Tensor, weights: Sequence[Tensor], cell: str, n_layers: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weights[1].shape[1])


class _RecurrentEncoder(nn.Module):
    kinds: ClassVar = ("sequence",)
    # torch gives its recurrent layers no batching rule, so members run one after another
    unsupported: ClassVar = {
        "vmap": "torch has no batching rule for its recurrent kernels",
        "compile": "torch.compile does not trace torch's recurrent layers",
    }
    cell: ClassVar[type[nn.GRU] | type[nn.LSTM]]

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 1,
        bidirectional: bool = False,
        n_segments: int = 1,
        statistics: bool = False,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, n_layers=n_layers)
        self.out_dim, self.statistics = hidden_dim, statistics
        n_directions = 2 if bidirectional else 1
        size = math.prod(info.shape)
        self.stacks = nn.ModuleList(
            self.cell(size, hidden_dim, n_layers, batch_first=True) for _ in range(n_directions)
        )
        self.output = TokenOutput(
            n_directions * hidden_dim,
            tokens,
            hidden_dim=hidden_dim,
            n_segments=n_segments,
            dropout=dropout,
            activation=activation,
            n_channels=size if statistics else 0,
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flatten(2)
        states = [self._run(0, x)]
        if len(self.stacks) == 2:
            # each sample reversed within its own length, so that no direction starts in the padding
            step = torch.arange(x.shape[1], device=x.device)
            # (B, T), its own inverse on the valid steps
            order = mask.sum(-1, keepdim=True) - 1 - step
            order = torch.where(order < 0, order + x.shape[1], order)
            backward = self._run(1, _reorder(x, order))
            states.append(_reorder(backward, order))
        return self.output(torch.cat(states, -1), mask, (x, mask))

    def _run(self, direction: int, x: Tensor) -> Tensor:
        """States of one of the stacks after each step: (B, T, d) -> (B, T, hidden_dim)."""
        stack: Any = self.stacks[direction]
        if torch.compiler.is_compiling():
            weights = [weight for layer in stack.all_weights for weight in layer]
            return torch.ops.skmm.recurrent(x, weights, self.cell.__name__, stack.num_layers)
        return stack(x)[0]


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return torch.gather(x, 1, order.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


_DOC = """{name} over the steps of a sequence.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the state and of the output.
    n_layers : int
        Number of recurrent layers.
    bidirectional : bool
        Whether a second stack reads each sample backwards, within its own length.
    n_segments : int
        Parts of the sequence whose mean and maximum make the vector.
    statistics : bool
        Whether mean, deviation, minimum and maximum of each channel over all steps make the vector, too.
    dropout : float, optional
        Dropout of the output.
    activation : str, optional
        Name of the activation of the output.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``n_layers`` or ``n_segments`` is no whole number of 1 or more.

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, hidden_dim), (B,) or tokens (B, T, hidden_dim), (B, T)

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.recurrent import {cls}
    >>> info = BlockInfo("sequence", (3,))
    >>> encoder = {cls}(info, False, bidirectional=True, hidden_dim=8, dropout=0.1, activation="relu")
    >>> vectors, mask = encoder(torch.ones(2, 6, 3), torch.ones(2, 6, dtype=torch.bool))
    >>> vectors.shape, mask.tolist()
    (torch.Size([2, 8]), [True, True])
    """


@register_encoder("gru")
class GRUEncoder(_RecurrentEncoder):
    __doc__ = _DOC.format(cls="GRUEncoder", name="Gated recurrent units (Cho et al. 2014)")
    source = "Cho et al. 2014"
    cell = nn.GRU


@register_encoder("lstm")
class LSTMEncoder(_RecurrentEncoder):
    __doc__ = _DOC.format(cls="LSTMEncoder", name="Long short-term memory (Hochreiter and Schmidhuber 1997)")
    source = "Hochreiter & Schmidhuber 1997"
    cell = nn.LSTM
