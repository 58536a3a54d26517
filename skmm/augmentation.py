"""Changes to training batches: what a network sees more of than there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skmm.network import Masks, Values, existing


class Batch(NamedTuple):
    """A training batch: what each step sees.

    Shape
    -----
    values and present (B, ...) per modality, target (B, ...), weights (B,) or None; with ``axes`` of 2 all of them
    behind a member axis, (K, B, ...).
    """

    values: Values
    present: Masks
    target: Tensor
    weights: Tensor | None
    axes: int


Augmentation = Callable[[Batch], Batch]


def _across(mask: Tensor, axes: int, ndim: int) -> Tensor:
    """A mask of (K, B) or (B,), with further axes of size 1."""
    return mask.view(*mask.shape, *[1] * (ndim - axes))


class ModalityDropout:
    """Hide each modality of a sample with a probability, but never all that it has.

    Where every one of a sample's modalities is drawn, one of them, at random, stays.

    Parameters
    ----------
    p : float
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

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, batch: Batch) -> Batch:
        there = existing(batch.present, batch.axes)
        luck = torch.where(there, torch.rand(there.shape, device=there.device), -1.0)
        # the luckiest of a sample's modalities always stays
        kept = (luck >= self.p) | (luck == luck.amax(-1, keepdim=True))
        present = {
            name: mask & _across(kept[..., m], batch.axes, mask.ndim)
            for m, (name, mask) in enumerate(batch.present.items())
        }
        return batch._replace(present=present)
