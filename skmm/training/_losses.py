"""Losses: outputs (..., n_outputs) and targets -> one number per sample (...,), and their mean over heads."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Negative log-probability of the class: logits (..., C), target (...) int64.

    Of targets (..., C) that are probabilities, what is expected of it.
    """
    if target.is_floating_point():
        return -(target * logits.log_softmax(-1)).sum(-1)
    if logits.ndim < 4:
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1), reduction="none")
    else:  # heads of several members: with the classes before the samples four times faster than at the end
        classes_first = logits.flatten(1, -2).transpose(1, 2).contiguous()
        loss = F.cross_entropy(classes_first, target.flatten(1), reduction="none")
    return loss.view(target.shape)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of each one's negative log-probability: logits and target (..., n_outputs)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)


def squared_error(value: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of the squared error: value and target (..., n_outputs)."""
    return (value - target).square().mean(-1)


def absolute_error(value: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of the absolute error: value and target (..., n_outputs)."""
    return (value - target).abs().mean(-1)


def huber_error(epsilon: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Squared within ``epsilon`` standard deviations of the target, absolute outside (Huber 1964)."""

    return functools.partial(_huber, epsilon=epsilon)


def _huber(value: Tensor, target: Tensor, epsilon: float) -> Tensor:
    return F.huber_loss(value, target, reduction="none", delta=epsilon).mean(-1)


def quantile_error(alpha: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Pinball loss, least at the ``alpha`` quantile (Koenker and Bassett 1978)."""

    return functools.partial(_pinball, alpha=alpha)


def _pinball(value: Tensor, target: Tensor, alpha: float) -> Tensor:
    error = target - value
    return torch.maximum(alpha * error, (alpha - 1) * error).mean(-1)


class HeadsLoss(nn.Module):
    """Weighted mean over the batch of a loss per sample, per member.

    With modality heads, the loss of the fused head plus ``modality_loss`` times the mean over the modalities that a
    sample has of their own heads' losses.

    Parameters
    ----------
    per_sample : callable
        Outputs (..., C) and targets -> losses (...,).
    modality_loss : float or Tensor of shape (K,), default=0.0
        One for all, or each member's own. Where all are 0, networks have no modality heads.
    """

    def __init__(self, per_sample: Callable[[Tensor, Tensor], Tensor], modality_loss: float | Tensor = 0.0) -> None:
        super().__init__()
        self.per_sample = per_sample
        self.modality_loss, self.with_heads = modality_loss, bool(torch.as_tensor(modality_loss).any())
        if isinstance(modality_loss, Tensor):
            self.modality_loss = modality_loss.unsqueeze(1)  # for losses (K, B)

    def forward(
        self, output: Tensor, target: Tensor, weights: Tensor | None, exists: Tensor | None = None
    ) -> Tensor:
        """Shape: outputs (..., B, C), or with heads (..., B, 1 + M, C) and exists (..., B, M); target; weights
        (..., B) of mean 1 or None -> (...,)."""
        if exists is None:
            loss = self.per_sample(output, target)
        else:
            n_heads = output.shape[-2]
            # every head has the same target: (..., B) or (..., B, n_outputs), repeated over the heads
            axis = exists.ndim - 1
            repeated = target.unsqueeze(axis).expand(*target.shape[:axis], n_heads, *target.shape[axis:])
            loss = self.per_sample(output, repeated)
            own = torch.where(exists, loss[..., 1:], 0.0).sum(-1) / exists.sum(-1).clamp(min=1)
            loss = loss[..., 0] + self.modality_loss * own
        return (loss if weights is None else loss * weights).mean(-1)
