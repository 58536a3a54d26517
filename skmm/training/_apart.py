"""Members trained by several ranks, each some of them: nothing goes to and fro until all are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from skmm._ranks import ApartRanks, common, current, using
from skmm.training._sets import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor

    from skmm.training._net import MultimodalNet


def train_apart(
    net: MultimodalNet,
    training: TrainingSet,
    validation: TrainingSet | None,
    epochs: int | None = None,
    *,
    checkpoint: Any = None,
    **ending: Any,
) -> None:
    """Train a net as :meth:`MultimodalNet.train` does, each rank members of its own; each has all of them then.

    Raises
    ------
    ValueError
        If the net has trained before, if there is a checkpoint, or if there are fewer members than ranks.
    """
    ranks: Any = current()
    n_members = net.module_.n_members
    if n_members < ranks.world_size:
        error = ValueError(
            f"data_parallel(parallel='members') gives each of {ranks.world_size} ranks members of its own, and "
            f"n_members={n_members}; set n_members={ranks.world_size} or more, or parallel='rows'."
        )
        raise common(error)
    if epochs is not None or len(net.history) or checkpoint is not None:
        what = "a checkpoint" if checkpoint is not None else "a fit that goes on (warm_start, partial_fit)"
        error = ValueError(f"data_parallel(parallel='members') keeps no state for {what}; set parallel='rows'.")
        raise common(error)
    own = ranks.mine(range(n_members))
    seeds = [net.seeds[k] for k in own]
    if len(training.rows) == 1:  # members that share their rows have them in the order of the first
        seeds[0] = net.seeds[0]
    networks = [net.module_.member(k) for k in own]
    part = net.with_networks(networks, net.made_of_, seeds=tuple(seeds), speakers=None)
    part.members_ = own
    with using(ApartRanks(ranks, in_step=validation is None)):
        part.train(_of(training, own), None if validation is None else _of(validation, own), **ending)
    _join(net, part, ranks.gather((own, _state(part), list(part.history), part.interrupted_)))


def _of(samples: TrainingSet, members: list[int]) -> TrainingSet:
    """What some of the members train on."""
    rows = samples.rows if len(samples.rows) == 1 else samples.rows[members]
    weights = None if samples.weights is None else samples.weights[members]
    return TrainingSet(samples.data, samples.target, weights, rows)


def _tensors(net: MultimodalNet) -> list[Tensor]:
    return [*net.module_.parameters(), *net.module_.buffers()]


def _state(part: MultimodalNet) -> list[Tensor]:
    """Weights and buffers of each of a part's members, (K, ...), on the CPU."""
    alone = part.module_.n_members == 1
    return [x.detach().cpu()[None] if alone else x.detach().cpu() for x in _tensors(part)]


def _join(net: MultimodalNet, part: MultimodalNet, told: list[Any]) -> None:
    """Put what all ranks have learned into the net, and of each epoch the mean loss of those that trained in it."""
    with torch.no_grad():
        for members, tensors, _, _ in told:
            for x, learned in zip(_tensors(net), tensors, strict=True):
                x[members] = learned.to(x.device)
    longest = max((history for _, _, history, _ in told), key=len)
    for epoch, row in enumerate(longest):
        there = [(len(members), history[epoch]) for members, _, history, _ in told if epoch < len(history)]
        for name in [name for name in ("train_loss", "valid_loss") if name in row]:
            row[name] = sum(n * other[name] for n, other in there) / sum(n for n, _ in there)
    net.history.extend(longest)
    net.copies_ = {}
    net.step_, net.total_steps_, net.n_batches_ = part.step_, part.total_steps_, part.n_batches_
    net.interrupted_ = any(interrupted for *_, interrupted in told)
