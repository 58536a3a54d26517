"""Changes to training batches: what a network sees more of than there is.

An augmentation of one modality is called with its values (n, ...) and the mask of what exists, (n,) or for steps
(n, time), and returns both; those of all members come as rows of one batch, so each row is changed by a draw of its
own. A joint augmentation takes and returns the whole :class:`Batch`. Either may be any callable; those here are
scikit-learn objects, whose parameters a search can reach.

Values are those that the network reads: floats standardised by ``scale_inputs`` (mean 0, deviation 1), images among
them. Blocks that come as they are, with ``scale_inputs=False`` or into a pretrained encoder that is trained, are
standardised for those here whose strength is in deviations or that put in a mean, by the mean and deviation of each
training batch (each member's own), and brought back. What does not exist, missing samples and the padding of
sequences, is never changed.
"""

from skmm.augmentation._compose import augmentations, compose
from skmm.augmentation.base import Augmentation, Batch, JointAugmentation, ModalityAugmentation
from skmm.augmentation.joint import CutMix, Mixup, ModalityDropout
from skmm.augmentation.modality import (
    ColorJitter,
    GaussianNoise,
    RandomCrop,
    RandomFlip,
    SpecAugment,
    TimeMask,
    TimeShift,
    TokenDropout,
    TokenSwap,
)

__all__ = [
    "Augmentation",
    "Batch",
    "ColorJitter",
    "CutMix",
    "GaussianNoise",
    "JointAugmentation",
    "Mixup",
    "ModalityAugmentation",
    "ModalityDropout",
    "RandomCrop",
    "RandomFlip",
    "SpecAugment",
    "TimeMask",
    "TimeShift",
    "TokenDropout",
    "TokenSwap",
    "augmentations",
    "compose",
]
