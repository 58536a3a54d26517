"""Augmentations of all modalities together."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skmm.augmentation.base import Batch, JointAugmentation, where_exists
from skmm.layers import SparseRows, Values, existing, with_axes_of


class ModalityDropout(JointAugmentation):
    """Hide each modality of a sample with a probability, but never all that it has.

    Where every one of a sample's modalities is drawn, one of them, at random, stays.

    Parameters
    ----------
    p : float, default=0.2
        Probability, 0 to 1.

    References
    ----------
    Neverova et al. 2016, ModDrop: adaptive multi-modal gesture recognition, section 3.2.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import Batch, ModalityDropout
    >>> there = torch.ones(4, dtype=torch.bool)
    >>> values = {"text": torch.ones(4, 2), "image": torch.ones(4, 2)}
    >>> batch = Batch(values, {"text": there, "image": there}, torch.zeros(4), None, axes=1)
    >>> present = ModalityDropout(p=0.9)(batch).present
    >>> bool((present["text"] | present["image"]).all())
    True
    """

    bounds: ClassVar = {"p": (Real, 0, 1)}

    def __init__(self, p: float = 0.2) -> None:
        self.p = p

    def __call__(self, batch: Batch) -> Batch:
        there = existing(batch.present, batch.axes)
        luck = torch.where(there, torch.rand(there.shape, device=there.device), -1.0)
        # the luckiest of a sample's modalities always stays
        kept = (luck >= self.p) | (luck == luck.amax(-1, keepdim=True))
        present = {
            name: mask & with_axes_of(kept[..., m], mask) for m, (name, mask) in enumerate(batch.present.items())
        }
        return batch._replace(present=present)


def _take(x: Tensor, order: Tensor) -> Tensor:
    """Samples in another order, each member's in its own: order (B,) or (K, B)."""
    if order.ndim == 1:
        return x[order]
    return x[torch.arange(len(order), device=order.device).unsqueeze(1), order]


def _take_tree(x: Any, order: Tensor) -> Any:
    return SparseRows(*(_take(part, order) for part in x)) if isinstance(x, SparseRows) else _take(x, order)


def _blend(x: Any, other: Any, both: Tensor, share: Tensor) -> Any:
    """``share`` of a sample and the rest of another where both have something, else the sample alone."""
    if isinstance(x, SparseRows):
        part = share.unsqueeze(-1)
        return SparseRows(
            torch.cat([x.columns, other.columns], -1),
            torch.cat([part * x.weights, (1 - part) * other.weights], -1),
            part * x.compressed + (1 - part) * other.compressed,
        )
    part = with_axes_of(share, x).to(x.dtype)
    return where_exists(both, part * x + (1 - part) * other, x)


class _Mixing(JointAugmentation):
    """Mixes each sample with a partner from the batch of the same member, drawn by a random permutation.

    The target is mixed in the loss: ``share * loss(own) + (1 - share) * loss(partner's)``. Samples that do not have
    the same modalities are not mixed; a sequence keeps its own length, and is mixed where both have a step.
    """

    kinds: ClassVar = ("vector", "sparse", "sequence", "image", "video")
    bounds: ClassVar = {"alpha": (Real, 1e-3, None)}

    alpha: float

    def __call__(self, batch: Batch) -> Batch:
        there = existing(batch.present, batch.axes)  # (..., B, M)
        order = torch.rand(there.shape[:-1], device=there.device).argsort(-1)
        alike = (there == _take(there, order)).all(-1) & (
            order != torch.arange(order.shape[-1], device=order.device)
        )
        beta = torch.distributions.Beta(self.alpha, self.alpha)
        share = torch.where(alike, beta.sample(order.shape).to(there.device), 1.0)
        values, share = self._mix(batch, order, share)
        weights = torch.ones_like(share) if batch.weights is None else batch.weights
        mixed = [(batch.target, weights), *batch.others]
        partners = [
            (_take(target, order), (1 - share) * weight.gather(-1, order.expand_as(weight)))
            for target, weight in mixed
        ]
        (target, weights), *others = [(target, share * weight) for target, weight in mixed]
        return batch._replace(values=values, target=target, weights=weights, others=(*others, *partners))

    @abstractmethod
    def _mix(self, batch: Batch, order: Tensor, share: Tensor) -> tuple[Values, Tensor]:
        """Mixed values, and the share that each sample keeps."""

    def _blended(self, batch: Batch, name: str, order: Tensor, share: Tensor) -> Any:
        x, mask = batch.values[name], batch.present[name]
        return _blend(x, _take_tree(x, order), mask & _take(mask, order), share)


class Mixup(_Mixing):
    """Train on weighted means of two samples: ``x = λ x_i + (1 - λ) x_j``, with the same λ for all modalities.

    λ ~ Beta(alpha, alpha), drawn for each sample. The loss is ``λ loss(y_i) + (1 - λ) loss(y_j)``. The partner is
    of the same member's batch; two samples that do not have the same modalities are not mixed. A sequence keeps its
    own length and is mixed where the partner has a step.

    Parameters
    ----------
    alpha : float, default=0.2
        Small: nearly one of the two. 1: any share as likely.

    References
    ----------
    Zhang et al. 2018, mixup: beyond empirical risk minimization, equation 2 (there alpha 0.1 to 0.4 on ImageNet,
    1 on CIFAR).

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import Batch, Mixup
    >>> there = torch.ones(4, dtype=torch.bool)
    >>> batch = Batch({"a": torch.eye(4)}, {"a": there}, torch.arange(4), None, axes=1)
    >>> mixed = Mixup(alpha=1.0)(batch)
    >>> mixed.values["a"].sum(1)
    tensor([1., 1., 1., 1.])
    """

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = alpha

    def _mix(self, batch: Batch, order: Tensor, share: Tensor) -> tuple[Values, Tensor]:
        return {name: self._blended(batch, name, order, share) for name in batch.values}, share


class CutMix(_Mixing):
    """Paste a box of another sample's picture, and mix the targets by its area.

    The box has the share 1 - λ of the picture, λ ~ Beta(alpha, alpha), and its centre anywhere; what stands out of
    the picture is cut off, and λ becomes the share of pixels that stay. It has the same place in all images and
    videos of a sample; the other modalities are mixed as by :class:`Mixup`, with the same λ. λ is drawn for each
    sample, where the paper draws one for each batch.

    Parameters
    ----------
    alpha : float, default=1.0
        1, the paper's value: any share as likely.

    References
    ----------
    Yun et al. 2019, CutMix: regularization strategy to train strong classifiers with localizable features,
    equations 1 and 2.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import Batch, CutMix
    >>> pictures = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    >>> there = torch.ones(2, dtype=torch.bool)
    >>> mixed = CutMix()(Batch({"photo": pictures}, {"photo": there}, torch.arange(2), None, axes=1))
    >>> set(mixed.values["photo"].unique().tolist()) <= {0.0, 1.0}
    True
    """

    needs: ClassVar = ("image", "video")

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def _mix(self, batch: Batch, order: Tensor, share: Tensor) -> tuple[Values, Tensor]:
        half = (1 - share).clamp(min=0).sqrt() / 2
        centre = torch.rand(2, *share.shape, device=share.device)
        values, kept, seen = {}, torch.zeros_like(share), torch.zeros_like(share)
        for name, x in batch.values.items():
            mask = batch.present[name]
            if isinstance(x, SparseRows) or mask.ndim > batch.axes or x.ndim - batch.axes < 2:
                continue
            frames = x.ndim - batch.axes == 4  # (..., T, H, W, C); else (..., H, W) or (..., H, W, C)
            inside = torch.ones_like(share, dtype=torch.bool)[..., None, None]  # (..., H, W)
            for axis, size in enumerate(x.shape[batch.axes + frames :][:2]):
                pixel = (torch.arange(size, device=share.device) + 0.5) / size
                within = (pixel - centre[axis].unsqueeze(-1)).abs() < half.unsqueeze(-1)
                inside = inside & (within.unsqueeze(-2) if axis else within.unsqueeze(-1))
            both = (mask & _take(mask, order)).to(share.dtype)
            kept, seen = kept + both * (1 - inside.to(share.dtype).mean((-2, -1))), seen + both
            inside = inside & both.bool()[..., None, None]
            values[name] = where_exists(inside.unsqueeze(batch.axes) if frames else inside, _take(x, order), x)
        share = torch.where(seen > 0, kept / seen.clamp(min=1), share)
        for name in batch.values.keys() - values.keys():
            values[name] = self._blended(batch, name, order, share)
        return {name: values[name] for name in batch.values}, share
