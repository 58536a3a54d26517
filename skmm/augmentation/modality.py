"""Augmentations of one modality."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skmm.augmentation.base import ModalityAugmentation, draw_integers, where_exists
from skmm.layers import SparseRows, with_axes_of


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
    wide = draw_integers(_widest(width, length), n)  # (n, N)
    start = draw_integers(length - wide).unsqueeze(-1)
    step = torch.arange(size, device=length.device)
    return ((step >= start) & (step < start + wide.unsqueeze(-1))).any(0)


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
    standardised = True
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
        return where_exists(torch.rand(len(x), device=x.device) < self.p, x.flip(3), x)


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
        for axis, shift in zip((2, 3), draw_integers(most) - self.padding, strict=True):
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

    standardised = True
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
    standardised = True
    bounds: ClassVar = {"width": (Real, 0, None), "n_masks": (Integral, 0, None)}

    def __init__(self, width: float = 0.2, n_masks: int = 1) -> None:
        self.width = width
        self.n_masks = n_masks

    def __call__(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        steps = mask if mask.ndim == 2 else mask.unsqueeze(-1).expand(x.shape[:2])
        hidden = _stripes(steps.sum(-1), x.shape[1], self.width, self.n_masks)
        return where_exists(~hidden, x, torch.zeros_like(x)), mask


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
    standardised = True
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
        shift = draw_integers(2 * furthest) - furthest
        source = torch.arange(x.shape[1], device=x.device) - shift.unsqueeze(-1)
        source = torch.minimum(source.clamp(min=0), (length - 1).clamp(min=0).unsqueeze(-1))  # (n, T)
        return torch.take_along_dim(x, with_axes_of(source, x), 1), mask


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
