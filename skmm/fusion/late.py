"""Fusion of decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import unknown
from skmm.layers import masked_log_mean, masked_softmax
from skmm.spec import register_fusion


@register_fusion("late")
class LateFusion(nn.Module):
    """One linear head per modality, their decisions combined by a rule; an absent modality has no say.

    Parameters
    ----------
    rule : {"mean", "product", "max", "vote", "learned"}
        ``mean`` of the probabilities; ``product``: the sum of log-probabilities; ``max``: the largest probability
        of each class; ``vote``: the share of modalities that choose a class (in training as ``mean``, since a
        vote has no gradient); ``learned``: a mean with learned weights. The result is normalised to sum to one.
        For values (regression) only ``mean`` and ``learned``.

    Raises
    ------
    ValueError
        If there is no such rule, or it is none for the target.

    Shape
    -----
    values (B, d_m), present (B,) -> logits (B, n_outputs)

    Notes
    -----
    ``mean`` and ``product`` are the paper's sum and product rules under equal priors: they lack the terms by which
    it makes up for the classes' frequencies, which the probabilities of every modality hold once.

    References
    ----------
    Kittler et al. 1998, On combining classifiers, sections 2 and 3.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.late import LateFusion
    >>> fusion = LateFusion({"text": 3, "image": 5}, 4, "softmax", rule="product")
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 4])
    """

    level = "decision"
    source = "Kittler et al. 1998, sec. 2-3"
    rules: ClassVar[dict[str, tuple[str, ...]]] = {
        "mean": ("softmax", "sigmoid", "identity"),
        "product": ("softmax", "sigmoid"),
        "max": ("softmax", "sigmoid"),
        "vote": ("softmax", "sigmoid"),
        "learned": ("softmax", "sigmoid", "identity"),
    }

    # a rule that is fixed has no weights to show
    requires: ClassVar[dict[str, dict[str, str]]] = {"gates": {"rule": "learned"}}

    def __init__(self, dims: Mapping[str, int], n_outputs: int, link: str, *, rule: str = "mean") -> None:
        super().__init__()
        valid = [name for name, links in self.rules.items() if link in links]
        if rule not in valid:
            raise unknown("rule for this target:", rule, valid)
        self.names = list(dims)
        self.rule, self.link = rule, link
        self.heads = nn.ModuleList(nn.Linear(dim, n_outputs) for dim in dims.values())
        # one modality has nothing to be weighed against
        self.scores = nn.Parameter(torch.zeros(len(dims))) if rule == "learned" and len(dims) > 1 else None
        self.out_dim = n_outputs

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        logits = torch.stack(
            [head(values[name]) for name, head in zip(self.names, self.heads, strict=True)], -2
        )  # (B, M, n_outputs)
        exists = torch.stack([present[name] for name in self.names], -1)  # (B, M)
        logits = torch.where(exists.unsqueeze(-1), logits, 0.0)
        return self._combine(logits, exists, self._weights(exists).to(logits.dtype))

    def gates(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weight of each modality's decision under the rule ``learned``, (B,) each; 0 where it is absent.

        They sum to one over the modalities that a row has.

        Raises
        ------
        ValueError
            If the rule is another one, which has no learned weights.
        """
        if self.rule != "learned":
            raise ValueError(f"rule {self.rule!r} of fusion 'late' has no learned weights, only 'learned' has.")
        weights = self._weights(torch.stack([present[name] for name in self.names], -1))
        return dict(zip(self.names, weights.unbind(-1), strict=True))

    def _weights(self, exists: Tensor) -> Tensor:
        """Weight of each modality, (B, M); they sum to one over those that exist."""
        if self.scores is not None:
            return masked_softmax(self.scores.expand_as(exists), exists)
        return exists / exists.sum(-1, keepdim=True).clamp(min=1)

    def _combine(self, logits: Tensor, exists: Tensor, weights: Tensor) -> Tensor:
        if self.link == "identity":
            return (weights.unsqueeze(-2) @ logits).squeeze(-2)
        mask = exists.unsqueeze(-1)
        if self.rule == "product" and self.link == "sigmoid":
            return logits.sum(-2)  # the log-odds add up
        if self.link == "softmax":
            return self._pool(F.log_softmax(logits, -1), mask, weights)
        # each output is a question of its own: pool the logarithms of yes and of no
        yes = self._pool(F.logsigmoid(logits), mask, weights)
        return yes - self._pool(F.logsigmoid(-logits), mask, weights)

    def _pool(self, log_p: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Combine log-probabilities (B, M, n) over the modalities -> (B, n)."""
        if self.rule == "product":
            return torch.where(mask, log_p, 0.0).sum(-2)
        if self.rule == "max":
            top = torch.where(mask, log_p, torch.finfo(log_p.dtype).min).amax(-2)
            return torch.where(mask.any(-2), top, 0.0)
        if self.rule == "vote" and not self.training:
            if self.link == "softmax":
                votes = F.one_hot(log_p.argmax(-1), log_p.shape[-1]).to(log_p.dtype)
            else:
                votes = (log_p >= -math.log(2)).to(log_p.dtype)
            share = (votes * weights.unsqueeze(-1)).sum(-2)
            return share.clamp(min=torch.finfo(torch.float32).eps).log()  # the same in any precision
        # where nothing exists all weights are 0, and the sum over no decision is no opinion
        pooled = masked_log_mean(log_p, weights.unsqueeze(-1).expand_as(log_p), -2)
        return torch.where(mask.any(-2), pooled, 0.0)
