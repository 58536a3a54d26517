"""Weights that are set to zero."""

from __future__ import annotations

import torch
from torch import Tensor

from skmm.compression._state import State
from skmm.training._net import MultimodalNet


def without_weights(state: State, share: float) -> tuple[MultimodalNet, list[tuple[Tensor, Tensor]]]:
    """A net of copies, and which weights of it are to be zero: of each matrix of each member the smallest.

    References
    ----------
    Han et al. 2015, Learning both weights and connections for efficient neural networks; Zhu and Gupta 2017, To
    prune, or not to prune, for the same share of each layer.
    """
    net = state.rebuilt(state.members())
    axis = 0 if state.n_members == 1 else 1
    matrices = [p for p in net.module_.decayed()[0] if p.ndim - axis >= 2]
    return net, [(p, _mask(p.detach(), share, axis)) for p in matrices]


def _mask(p: Tensor, share: float, axis: int) -> Tensor:
    """0 for this share of the weights of each member, the smallest, and 1 for the others."""
    flat = p.abs().reshape(len(p) if axis else 1, -1)
    mask = torch.ones_like(flat)
    smallest = flat.argsort(dim=1)[:, : round(share * flat.shape[1])]
    return mask.scatter_(1, smallest, 0.0).reshape(p.shape)
