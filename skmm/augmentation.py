"""Changes to training batches: what a network sees more of than there is.

An augmentation of one modality is called with its values (n, ...) and the mask of what exists, (n,) or for steps
(n, time), and returns both; those of all members come as rows of one batch, so each row is changed by a draw of its
own. A joint augmentation takes and returns the whole :class:`Batch`. Either may be any callable; those here are
scikit-learn objects, whose parameters a search can reach.

Values are those that the network reads: floats standardised by ``scale_inputs`` (mean 0, deviation 1), images among
them. What does not exist, missing samples and the padding of sequences, is never changed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_scalar
from torch import Tensor

from skmm.blocks import KINDS, BlockInfo
from skmm.layers import SparseRows
from skmm.network import Masks, Values, existing
from skmm.spec import unknown


class Batch(NamedTuple):
    """A training batch: what each step sees.

    Where samples are mixed, ``target`` is of the sample itself and ``others`` of those mixed into it, each with the
    weight of its loss.

    Shape
    -----
    values and present (B, ...) per modality, target (B, ...), weights (B,) or None, others pairs of such targets
    and weights; with ``axes`` of 2 all of them behind a member axis, (K, B, ...). Where several members share their
    samples, ``axes`` is 1 and the weights are (K, B).
    """

    values: Values
    present: Masks
    target: Tensor
    weights: Tensor | None
    axes: int
    others: tuple[tuple[Tensor, Tensor], ...] = ()


Augmentation = Callable[[Batch], Batch]

JOINT = "*"  # the name under which joint augmentations stand


# -- what all share -----------------------------------------------------------------------------------------------


class _Parameters(BaseEstimator):
    """Parameters, each a number between two bounds."""

    bounds: ClassVar[Mapping[str, tuple[type, float | None, float | None]]] = {}

    def check(self) -> None:
        """Raise if a parameter is out of bounds."""
        for name, (kind, low, high) in self.bounds.items():
            value = getattr(self, name)
            check_scalar(value, f"{type(self).__name__}: {name}", kind, min_val=low, max_val=high)
            if kind is Real and high is None and not math.isfinite(value):
                raise ValueError(f"{type(self).__name__}: {name}={value!r} must be finite.")


class ModalityAugmentation(_Parameters, ABC):
    """Base of the augmentations of one modality."""

    kinds: ClassVar[tuple[str, ...]]  # kinds of block that it can change

    @abstractmethod
    def __call__(self, x: Any, mask: Tensor) -> tuple[Any, Tensor]:
        """Changed values and mask of n samples; what is written where nothing exists is put back afterwards."""


class JointAugmentation(_Parameters, ABC):
    """Base of the augmentations of the whole batch."""

    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)
    needs: ClassVar[tuple[str, ...]] = ()  # kinds of which the batch must have one

    @abstractmethod
    def __call__(self, batch: Batch) -> Batch:
        """The changed batch; the given one stays as it is."""


def _across(mask: Tensor, axes: int, ndim: int) -> Tensor:
    """A mask of (K, B) or (B,), with further axes of size 1."""
    return mask.view(*mask.shape, *[1] * (ndim - axes))


def _where(mask: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(_across(mask, mask.ndim, x.ndim), x, other)


def _integers(high: Tensor, *shape: int) -> Tensor:
    """Whole numbers from 0 to ``high``, each as likely, one for each entry of it; ``shape`` further axes ahead."""
    draw = torch.rand(*shape, *high.shape, device=high.device)
    return torch.minimum((draw * (high + 1)).floor().long(), high)


def _widest(width: float, size: Tensor) -> Tensor:
    """A width given in steps, or as a share of the size, in whole steps, at most the size."""
    steps = (
        torch.full_like(size, int(width)) if isinstance(width, Integral) else (size * float(width)).floor().long()
    )
    return torch.minimum(steps, size)


def _stripes(length: Tensor, size: int, width: float, n: int) -> Tensor:
    """``n`` stretches of each row, some of them shorter than ``width`` or empty: lengths (N,) -> (N, size).

    Width uniform from 0 to the widest, then the start uniform over all places where it fits.
    """
    wide = _integers(_widest(width, length), n)  # (n, N)
    start = _integers(length - wide).unsqueeze(-1)
    step = torch.arange(size, device=length.device)
    return ((step >= start) & (step < start + wide.unsqueeze(-1))).any(0)


# -- one modality -------------------------------------------------------------------------------------------------


class GaussianNoise(ModalityAugmentation):
    """Add normal noise to every number.

    Of a sparse block only the entries that are stored change.

    Parameters
    ----------
    std : float, default=0.1
        Standard deviation, in those of the standardised feature or channel.

    References
    ----------
    Bishop 1995, Training with noise is equivalent to Tikhonov regularization.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import GaussianNoise
    >>> x, mask = GaussianNoise(std=0.5)(torch.zeros(2000, 3), torch.ones(2000, dtype=torch.bool))
    >>> round(x.std().item(), 1)
    0.5
    """

    kinds: ClassVar = ("vector", "sparse", "sequence", "image", "video")
    bounds: ClassVar = {"std": (Real, 0, None)}

    def __init__(self, std: float = 0.1) -> None:
        self.std = std

    def __call__(self, x: Any, mask: Tensor) -> tuple[Any, Tensor]:
        def noisy(values: Tensor) -> Tensor:
            return values + self.std * torch.randn_like(values)

        if isinstance(x, SparseRows):
            stored = torch.where(x.weights != 0, noisy(x.weights), 0.0)
            return SparseRows(x.columns, stored, noisy(x.compressed)), mask
        return noisy(x), mask


class _PictureAugmentation(ModalityAugmentation):
    """Sees images and videos alike as (n, time, height, width, channels); all frames change in the same way."""

    kinds: ClassVar = ("image", "video")

    def __call__(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        *_, height, width, channels = (*x.shape, 1) if x.ndim == 3 else x.shape
        return self._change(x.view(len(x), -1, height, width, channels)).reshape(x.shape), mask

    @abstractmethod
    def _change(self, x: Tensor) -> Tensor: ...


class RandomFlip(_PictureAugmentation):
    """Turn pictures left to right.

    Parameters
    ----------
    p : float, default=0.5
        Probability.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import RandomFlip
    >>> picture = torch.arange(3.0).view(1, 1, 3)
    >>> RandomFlip(p=1.0)(picture, torch.ones(1, dtype=torch.bool))[0]
    tensor([[[2., 1., 0.]]])
    """

    bounds: ClassVar = {"p": (Real, 0, 1)}

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def _change(self, x: Tensor) -> Tensor:
        return _where(torch.rand(len(x), device=x.device) < self.p, x.flip(3), x)


class RandomCrop(_PictureAugmentation):
    """Shift pictures up or down and left or right, as cropping a padded picture at random does.

    What the shift lays bare repeats the picture's edge.

    Parameters
    ----------
    padding : int, default=2
        Largest shift in pixels.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import RandomCrop
    >>> x, mask = RandomCrop(padding=1)(torch.rand(2, 8, 8, 3), torch.ones(2, dtype=torch.bool))
    >>> x.shape
    torch.Size([2, 8, 8, 3])
    """

    bounds: ClassVar = {"padding": (Integral, 0, None)}

    def __init__(self, padding: int = 2) -> None:
        self.padding = padding

    def _change(self, x: Tensor) -> Tensor:
        most = torch.full((2, len(x), 1), 2 * self.padding, device=x.device)
        for axis, shift in zip((2, 3), _integers(most) - self.padding, strict=True):
            place = (torch.arange(x.shape[axis], device=x.device) + shift).clamp(0, x.shape[axis] - 1)
            sizes = [len(x), 1, 1, 1, 1]
            sizes[axis] = -1
            x = torch.take_along_dim(x, place.view(sizes), axis)
        return x


class ColorJitter(_PictureAugmentation):
    """Change brightness, contrast and saturation.

    With draws b, c and s per picture, each pixel becomes, one after the other, ``mean + c (x - mean)`` about the
    picture's mean, ``grey + s (x - grey)`` about the mean of its channels, and ``x + b``.

    Parameters
    ----------
    brightness : float, default=0.2
        b is uniform from ``-brightness`` to ``brightness``, in deviations of the standardised channel.
    contrast : float, default=0.2
        c is uniform from ``1 - contrast`` to ``1 + contrast``.
    saturation : float, default=0.2
        s likewise; a picture of one channel has no saturation.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import ColorJitter
    >>> x, mask = ColorJitter(contrast=0.5)(torch.rand(2, 8, 8, 3), torch.ones(2, dtype=torch.bool))
    >>> x.shape
    torch.Size([2, 8, 8, 3])
    """

    bounds: ClassVar = {"brightness": (Real, 0, None), "contrast": (Real, 0, 1), "saturation": (Real, 0, 1)}

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2) -> None:
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation

    def _change(self, x: Tensor) -> Tensor:
        draw = 2 * torch.rand(3, len(x), 1, 1, 1, 1, dtype=x.dtype, device=x.device) - 1
        mean = x.mean((1, 2, 3, 4), keepdim=True)
        x = mean + (1 + self.contrast * draw[1]) * (x - mean)
        if x.shape[-1] > 1:
            grey = x.mean(-1, keepdim=True)
            x = grey + (1 + self.saturation * draw[2]) * (x - grey)
        return x + self.brightness * draw[0]


class TimeMask(ModalityAugmentation):
    """Put stretches of a sequence to zero, the mean of a standardised channel.

    Parameters
    ----------
    width : float or int, default=0.2
        The longest stretch: a share of each sample's length, or an int of steps. Lengths are uniform from 0 to it.
    n_masks : int, default=1
        Stretches per sample; they may overlap.

    References
    ----------
    Park et al. 2019, SpecAugment, section 2 (time masking).

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import TimeMask
    >>> x, mask = TimeMask(width=3)(torch.ones(1, 10, 2), torch.ones(1, 10, dtype=torch.bool))
    >>> int((x == 0).all(-1).sum()) <= 3
    True
    """

    kinds: ClassVar = ("sequence", "video")
    bounds: ClassVar = {"width": (Real, 0, None), "n_masks": (Integral, 0, None)}

    def __init__(self, width: float = 0.2, n_masks: int = 1) -> None:
        self.width = width
        self.n_masks = n_masks

    def __call__(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        steps = mask if mask.ndim == 2 else mask.unsqueeze(-1).expand(x.shape[:2])
        hidden = _stripes(steps.sum(-1), x.shape[1], self.width, self.n_masks)
        return _where(~hidden, x, torch.zeros_like(x)), mask


class SpecAugment(ModalityAugmentation):
    """Put stretches of time and bands of frequencies of a spectrogram to zero, the mean of a standardised channel.

    Widths are uniform from 0 to the widest, places uniform among those where the stretch fits. The defaults are the
    paper's policy SM (F = 15 of 80 mel bands, p = 0.2, two masks of each kind) as shares; its time warping, which
    it found to matter least, is left out.

    Parameters
    ----------
    time_width : float or int, default=0.2
        The longest stretch: a share of each sample's length, or an int of steps.
    n_time_masks : int, default=2
        Stretches per sample.
    frequency_width : float or int, default=0.19
        The widest band: a share of the channels, or an int of channels.
    n_frequency_masks : int, default=2
        Bands per sample.

    References
    ----------
    Park et al. 2019, SpecAugment: a simple data augmentation method for automatic speech recognition, section 2 and
    table 1.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import SpecAugment
    >>> x, mask = SpecAugment()(torch.ones(1, 30, 40), torch.ones(1, 30, dtype=torch.bool))
    >>> x.shape
    torch.Size([1, 30, 40])
    """

    kinds: ClassVar = ("sequence",)
    bounds: ClassVar = {
        "time_width": (Real, 0, None),
        "n_time_masks": (Integral, 0, None),
        "frequency_width": (Real, 0, None),
        "n_frequency_masks": (Integral, 0, None),
    }

    def __init__(
        self,
        time_width: float = 0.2,
        n_time_masks: int = 2,
        frequency_width: float = 0.19,
        n_frequency_masks: int = 2,
    ) -> None:
        self.time_width = time_width
        self.n_time_masks = n_time_masks
        self.frequency_width = frequency_width
        self.n_frequency_masks = n_frequency_masks

    def __call__(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        n, n_steps = mask.shape
        bands = torch.full((n,), x.shape[-1], device=x.device)
        times = _stripes(mask.sum(-1), n_steps, self.time_width, self.n_time_masks)
        frequencies = _stripes(bands, x.shape[-1], self.frequency_width, self.n_frequency_masks)
        between = [1] * (x.ndim - 3)
        hidden = times.view(n, n_steps, *between, 1) | frequencies.view(n, 1, *between, -1)
        return torch.where(hidden, 0.0, x), mask


class TimeShift(ModalityAugmentation):
    """Move a sequence, a waveform or a spectrogram, later or earlier within its own length.

    What moves past an end is lost; the steps laid bare at the other repeat the first or the last.

    Parameters
    ----------
    shift : float or int, default=0.1
        The furthest: a share of each sample's length, or an int of steps.

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import TimeShift
    >>> x, mask = TimeShift(shift=2)(torch.rand(3, 10, 1), torch.ones(3, 10, dtype=torch.bool))
    >>> x.shape
    torch.Size([3, 10, 1])
    """

    kinds: ClassVar = ("sequence",)
    bounds: ClassVar = {"shift": (Real, 0, None)}

    def __init__(self, shift: float = 0.1) -> None:
        self.shift = shift

    def __call__(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        length = mask.sum(-1)
        furthest = _widest(self.shift, length)
        shift = _integers(2 * furthest) - furthest
        source = torch.arange(x.shape[1], device=x.device) - shift.unsqueeze(-1)
        source = torch.minimum(source.clamp(min=0), (length - 1).clamp(min=0).unsqueeze(-1))  # (n, T)
        return torch.take_along_dim(x, _across(source, 2, x.ndim), 1), mask


class TokenDropout(ModalityAugmentation):
    """Leave tokens out; the others close up, and one, at random, always stays.

    Parameters
    ----------
    p : float, default=0.1
        Probability with which each token goes.

    References
    ----------
    Iyyer et al. 2015, Deep unordered composition rivals syntactic methods for text classification, section 3.1
    (word dropout, p = 0.3); Wei and Zou 2019, EDA, random deletion (p = 0.1).

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import TokenDropout
    >>> ids, mask = TokenDropout(p=1.0)(torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.bool))
    >>> int(mask.sum()), bool(ids[0, 0] >= 5)
    (1, True)
    """

    kinds: ClassVar = ("tokens",)
    bounds: ClassVar = {"p": (Real, 0, 1)}

    def __init__(self, p: float = 0.1) -> None:
        self.p = p

    def __call__(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        luck = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
        kept = mask & ((luck >= self.p) | (luck == luck.amax(-1, keepdim=True)))
        order = (~kept).to(torch.uint8).argsort(dim=-1, stable=True)
        left = torch.arange(mask.shape[1], device=mask.device) < kept.sum(-1, keepdim=True)
        return torch.where(left, x.gather(1, order), 0), left


class TokenSwap(ModalityAugmentation):
    """Draw some of a sample's tokens and let them change places among themselves.

    Parameters
    ----------
    p : float, default=0.1
        Probability with which each token is drawn.

    References
    ----------
    After random swap of Wei and Zou 2019, EDA: easy data augmentation techniques for boosting performance on text
    classification tasks, section 2 (there a tenth of the words).

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import TokenSwap
    >>> ids, mask = TokenSwap(p=1.0)(torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.bool))
    >>> sorted(ids[0].tolist())
    [5, 6, 7]
    """

    kinds: ClassVar = ("tokens",)
    bounds: ClassVar = {"p": (Real, 0, 1)}

    def __init__(self, p: float = 0.1) -> None:
        self.p = p

    def __call__(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        drawn = mask & (torch.rand(mask.shape, device=mask.device) < self.p)
        step = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        # the drawn places first, once in their order and once shuffled; the others behind them as they are
        places = torch.where(drawn, step, step + mask.shape[1]).argsort(-1)
        shuffled = torch.where(drawn, torch.rand(mask.shape, device=mask.device) - 1, step.float()).argsort(-1)
        source = step.scatter(1, places, shuffled)
        return x.gather(1, source), mask


# -- all modalities -----------------------------------------------------------------------------------------------


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
            name: mask & _across(kept[..., m], batch.axes, mask.ndim)
            for m, (name, mask) in enumerate(batch.present.items())
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
    part = _across(share, share.ndim, x.ndim).to(x.dtype)
    return _where(both, part * x + (1 - part) * other, x)


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
            values[name] = _where(inside.unsqueeze(batch.axes) if frames else inside, _take(x, order), x)
        share = torch.where(seen > 0, kept / seen.clamp(min=1), share)
        for name in batch.values.keys() - values.keys():
            values[name] = self._blended(batch, name, order, share)
        return {name: values[name] for name in batch.values}, share


# -- from what a user writes to what training calls ---------------------------------------------------------------


class _OfModality:
    """An augmentation of one modality as a change of the batch; what does not exist stays as it was."""

    def __init__(self, name: str, change: Callable[[Any, Tensor], tuple[Any, Tensor]]) -> None:
        self.name, self.change = name, change

    def __call__(self, batch: Batch) -> Batch:
        values: Any = batch.values[self.name]
        present = batch.present[self.name]
        x: Any = values
        if batch.axes == 2:
            x = SparseRows(*(part.flatten(0, 1) for part in x)) if isinstance(x, SparseRows) else x.flatten(0, 1)
        mask = present.flatten(0, batch.axes - 1)
        changed, left = self.change(x, mask)
        if isinstance(x, SparseRows):
            changed = SparseRows(*(_where(mask, a, b) for a, b in zip(changed, x, strict=True)))
            changed = SparseRows(*(a.view(b.shape) for a, b in zip(changed, values, strict=True)))
        else:
            changed = _where(mask, changed, x).view(values.shape)
        return batch._replace(
            values={**batch.values, self.name: changed},
            present={**batch.present, self.name: (left & mask).view(present.shape)},
        )


def augmentations(augment: Any) -> Iterator[tuple[str, Any]]:
    """Name and augmentation, in order, of what ``augment`` of an estimator says; None stands for nothing."""
    if augment is None:
        return
    if not isinstance(augment, Mapping):
        raise ValueError(
            f"augment must be a dict such as {{'image': [RandomFlip()], '*': [Mixup(0.2)]}}, got {augment!r}."
        )
    for name, given in augment.items():
        for change in given if isinstance(given, Sequence) else [given]:
            if change is not None:
                yield name, change


def compose(augment: Any, infos: Mapping[str, BlockInfo]) -> tuple[Augmentation, ...]:
    """The changes of a batch that ``augment`` stands for, checked against the modalities.

    Raises
    ------
    ValueError
        If a name is no modality, an augmentation cannot change its kind of block, or a parameter is wrong.
    """
    changes: list[Augmentation] = []
    for name, change in augmentations(augment):
        label = type(change).__name__
        if name != JOINT and name not in infos:
            raise unknown("modality in augment:", name, [*infos, JOINT])
        if isinstance(change, type) or not callable(change):
            raise ValueError(f"augment[{name!r}]: expected an augmentation such as RandomFlip(), got {change!r}.")
        if name == JOINT:
            if isinstance(change, ModalityAugmentation):
                raise ValueError(
                    f"augment['*']: {label} changes one modality; give it under that one's name, of {list(infos)}."
                )
            _check_kinds(change, infos)
            if isinstance(change, JointAugmentation) and change.needs:
                kinds = [info.kind for info in infos.values()]
                if not set(change.needs) & set(kinds):
                    raise ValueError(
                        f"augment['*']: {label} needs a modality of kind {' or '.join(change.needs)}, "
                        f"there are {kinds}."
                    )
            changes.append(change)
        else:
            if isinstance(change, JointAugmentation):
                raise ValueError(f"augment[{name!r}]: {label} changes all modalities; give it under '*'.")
            _check_kinds(change, {name: infos[name]})
            changes.append(_OfModality(name, change))
        if isinstance(change, _Parameters):
            change.check()
    return tuple(changes)


def _check_kinds(change: Any, infos: Mapping[str, BlockInfo]) -> None:
    for name, info in infos.items():
        kinds = getattr(change, "kinds", tuple(KINDS))
        if info.kind not in kinds:
            raise ValueError(
                f"augment: modality {name!r} is {info.kind}, which {type(change).__name__} cannot change; "
                f"valid kinds are {list(kinds)}."
            )
