"""What a step and an epoch of training consist of, for one network or for several along a leading member axis.

Functions of tensors alone: the loop of one estimator and that of a search both train by these.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from skmm._ranks import common, current
from skmm.augmentation import Batch
from skmm.layers import existing
from skmm.training._losses import HeadsLoss


def batch_loss(criterion: HeadsLoss, output: Tensor, batch: Batch, n_members: int) -> Tensor:
    """Loss of a batch, of several members (K,), over all targets that an augmentation has mixed into it."""
    exists = existing(batch.present, batch.axes) if criterion.with_heads else None
    shared = n_members > 1 and batch.axes == 1  # the same samples for all members
    if shared and exists is not None:
        exists = exists.expand(n_members, *exists.shape)
    losses = [
        criterion(output, target.expand(n_members, *target.shape) if shared else target, weights, exists)
        for target, weights in ((batch.target, batch.weights), *batch.others)
    ]
    return functools.reduce(torch.add, losses)


def clip_gradients(gradients: list[Tensor], largest: float | Tensor) -> None:
    """Scale each member's gradient, in parts (K, ...), down in place to the largest norm: one for all, or (K,)."""
    k = len(gradients[0])
    norm = torch.stack([g.reshape(k, -1).square().sum(1) for g in gradients]).sum(0).sqrt()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor.view(k, *[1] * (g.ndim - 1)))


def add_gradients(parameters: list[Any], loss: Tensor) -> Tensor:
    """Sum gradients over the ranks, in place, by one exchange; the sum of their losses.

    A parameter that no rank used has no gradient afterwards, as without ranks.
    """
    ranks = current().rows
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=loss.device)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([x.reshape(-1).float() for x in (*parts, used, loss)])
    ranks.add(flat)
    *sums, used, loss = flat.split([*(p.numel() for p in parameters), len(parameters), loss.numel()])
    for p, total, by in zip(parameters, sums, used.tolist(), strict=True):
        p.grad = total.view_as(p).to(p.dtype) if by else None
    return loss


def divergence(what: str, values: Tensor, epoch: int, lr: float) -> ValueError | None:
    """The error that says that losses of members, or weights, are no numbers any more, or nothing: values (K,)."""
    bad = ~torch.isfinite(values)
    if not bad.any():
        return None
    error = ValueError(
        f"the {what} became {values[bad][0].item()} in epoch {epoch} with lr={lr}. Try a lower lr, "
        "clip_grad_norm=1.0, scale_inputs=True, or check the values of the inputs and the target."
    )
    return common(error)


class BestWeights:
    """Each member's weights at its lowest validation loss, and for how many epochs it has waited for a lower one.

    Parameters
    ----------
    n_members : int
        Number of members.
    patience : int or Tensor of shape (K,)
        Epochs without a lower loss after which a member stops.
    tol : float or Tensor of shape (K,)
        By how much a loss must be lower.

    Attributes
    ----------
    weights : list of Tensor
        What was given to :meth:`note`, each member's at its lowest loss; empty before the first.
    """

    def __init__(self, n_members: int, patience: int | Tensor, tol: float | Tensor) -> None:
        self.patience, self.tol = patience, tol
        self.lowest = torch.full((n_members,), math.inf)
        self.waited = torch.zeros(n_members, dtype=torch.int64)
        self.weights: list[Tensor] = []

    @property
    def stopped(self) -> Tensor:
        """Which members have waited in vain, (K,); these never improve again."""
        return self.waited >= self.patience

    def note(self, loss: Tensor, weights: list[Tensor]) -> None:
        """Take up an epoch: validation losses (K,), and weights (K, ...), of one member without that axis."""
        active = ~self.stopped
        better = active & (loss < self.lowest - self.tol)
        if bool(better.any()):
            kept = [x.clone() for x in weights]
            if self.weights and not bool(better.all()):
                for x, before in zip(kept, self.weights, strict=True):
                    x[~better] = before[~better]
            self.weights = kept  # at once, so that Ctrl-C never leaves layers of two epochs
        self.lowest = torch.where(better, loss, self.lowest)
        self.waited = torch.where(better, 0, self.waited + active.long())

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"lowest": self.lowest, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.lowest, self.waited, self.weights = state["lowest"].cpu(), state["waited"].cpu(), state["weights"]

    def keep(self, members: Tensor) -> None:
        """Go on with some of the members."""
        on_cpu = members.cpu()
        self.lowest, self.waited = self.lowest[on_cpu], self.waited[on_cpu]
        self.weights = [x[members] for x in self.weights]
        if isinstance(self.patience, Tensor):
            self.patience = self.patience[on_cpu]
        if isinstance(self.tol, Tensor):
            self.tol = self.tol[on_cpu]
