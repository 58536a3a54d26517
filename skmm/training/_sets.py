"""What a network trains on: samples, targets, weights and rows, cut into batches, each epoch in another order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skmm._ranks import Ranks, current
from skmm.inputs._batches import Batches
from skmm.inputs._columns import Width, take_rows


class Cut(NamedTuple):
    """A batch as it is cut.

    Attributes
    ----------
    samples : pair of dict
        Values and masks.
    target : Tensor
        Their targets.
    weights : Tensor or None
        Their weights.
    axes : int
        Axes before those of a sample: 2 for batches of each member's own, else 1.
    counted : pair of int
        How many of the samples count, of how many that all ranks have in this batch.
    """

    samples: Any
    target: Tensor
    weights: Tensor | None
    axes: int
    counted: tuple[int, int]


class TrainingSet:
    """Samples, targets and the rows of each member.

    Parameters
    ----------
    data : Batches
        Every sample, once for all members.
    target : Tensor of shape (n_samples, ...)
        Encoded targets.
    weights : Tensor of shape (K, n_rows) or None
        Weight of each of a member's rows, of mean 1.
    rows : Tensor of shape (K, n_rows) or (1, n_rows)
        Each member's rows, or those of all, from which the weights of a member may leave some out: so a sample that
        is read lazily is read once for all members.
    """

    def __init__(self, data: Batches, target: Tensor, weights: Tensor | None, rows: Tensor) -> None:
        self.data, self.target, self.weights, self.rows = data, target, weights, rows

    def __len__(self) -> int:
        return self.rows.shape[1]

    def cut(self, rows: list[Tensor], weights: Iterable[Tensor | None], *, training: bool = False) -> Iterator[Cut]:
        """Batches of these rows and weights, which are read ahead where samples are read lazily.

        Of several ranks each has its share: in ``training`` of the rows of each batch, otherwise of the batches.
        """
        ranks, sizes = current().rows, [batch.shape[-1] for batch in rows]
        counted = [(size, size) for size in sizes]
        if ranks.world_size > 1 and training:
            counted = [(len(range(ranks.rank, size, ranks.world_size)), size) for size in sizes]
            rows = [_share(batch, ranks) for batch in rows]
            weights = [None if weight is None else _share(weight, ranks) for weight in weights]
        elif ranks.world_size > 1:
            rows, weights, counted = ranks.mine(rows), ranks.mine(list(weights)), ranks.mine(counted)
        for batch, weight, count, values in zip(rows, weights, counted, self.data.stream(rows), strict=True):
            yield Cut(values, take_rows(self.target, batch), weight, batch.ndim, count)


def _share(batch: Tensor, ranks: Ranks) -> Tensor:
    """A rank's share of a batch, (B,) or (K, B); where there is none for it, one that will not count."""
    own = batch[..., ranks.rank :: ranks.world_size]
    return own if own.shape[-1] else batch[..., :1]


def order_generator(seed: int, epochs_before: int = 0) -> torch.Generator:
    """What the orders of batches are drawn from: a fit that goes on after some epochs draws new ones."""
    return torch.Generator().manual_seed((seed + 7919 * epochs_before) % 2**63)


class BatchIterator:
    """Cuts batches by row numbers, in an order of its own for each member, or in one where they share their rows.

    Without generators the batches are cut by what they hold in a network of some ``width``.
    """

    def __init__(
        self, dataset: TrainingSet, batch_size: int, generators: list[torch.Generator] | None, width: Width
    ) -> None:
        self.dataset, self.batch_size, self.generators, self.width = dataset, batch_size, generators, width

    def __iter__(self) -> Iterator[Cut]:
        d = self.dataset
        rows, weights = d.rows, d.weights
        if self.generators is not None:
            orders = [d.data.order(own, g) for own, g in zip(rows, self.generators, strict=False)]
            order = torch.stack(orders).to(rows.device)
            rows = rows.gather(1, order)
            weights = None if weights is None else weights.gather(1, order.expand(len(weights), -1))
        if len(rows) == 1:
            rows = rows[0]
        if weights is not None and len(weights) == 1:
            weights = weights[0]
        if self.generators is None:
            positions = [p.to(rows.device) for p in d.data.parts(rows, self.batch_size, self.width)]
            parts: Any = [rows[..., p] for p in positions]
            weight_parts: Any = [None if weights is None else weights[..., p] for p in positions]
        else:
            parts = rows.split(self.batch_size, -1)
            weight_parts = [None] * len(parts) if weights is None else weights.split(self.batch_size, -1)
        yield from d.cut(parts, weight_parts, training=self.generators is not None)
