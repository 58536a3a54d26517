"""What augmentations are, and what those of one modality and joint ones share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_scalar
from torch import Tensor

from skmm._documentation import Documented
from skmm.blocks._blocks import KINDS
from skmm.layers import Masks, Values, with_axes_of


class Batch(NamedTuple):
    """A training batch: what each step sees.

    Where samples are mixed, ``target`` is of the sample itself and ``others`` of those mixed into it, each with the
    weight of its loss.

    Shape
    -----
    values and present (B, ...) per modality, target (B, ...), weights (B,) or None, others pairs of such targets
    and weights; with ``axes`` of 2 all of them behind a member axis, (K, B, ...). Where several members share their
    samples, ``axes`` is 1 and the weights are (K, B).

    Examples
    --------
    >>> import torch
    >>> from skmm.augmentation import Batch, Mixup
    >>> text, target = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    >>> batch = Batch({"text": text}, {"text": torch.ones(4, dtype=torch.bool)}, target, None, axes=1)
    >>> mixed = Mixup(0.2)(batch)
    >>> len(mixed.others), mixed.values["text"].shape
    (1, torch.Size([4, 3]))
    """

    values: Values
    present: Masks
    target: Tensor
    weights: Tensor | None
    axes: int
    others: tuple[tuple[Tensor, Tensor], ...] = ()


Augmentation = Callable[[Batch], Batch]

JOINT = "*"  # the name under which joint augmentations stand


class BoundedParameters(Documented, BaseEstimator):
    """Parameters, each a number between two bounds."""

    bounds: ClassVar[Mapping[str, tuple[type, float | None, float | None]]] = {}

    def check(self) -> None:
        """Raise if a parameter is out of bounds."""
        for name, (kind, low, high) in self.bounds.items():
            value = getattr(self, name)
            check_scalar(value, f"{type(self).__name__}: {name}", kind, min_val=low, max_val=high)
            if kind is Real and high is None and not math.isfinite(value):
                raise ValueError(f"{type(self).__name__}: {name}={value!r} must be finite.")


class ModalityAugmentation(BoundedParameters, ABC):
    """Base of the augmentations of one modality, and of your own.

    Parameters of ``__init__`` are searched and cloned as those of an estimator; ``bounds`` says which values they
    may have.

    Examples
    --------
    >>> from numbers import Real
    >>> import numpy as np
    >>> import torch
    >>> from skmm import MultimodalClassifier
    >>> from skmm.augmentation import ModalityAugmentation
    >>> class RandomSign(ModalityAugmentation):
    ...     kinds = ("vector",)
    ...     bounds = {"p": (Real, 0, 1)}  # a number from 0 to 1
    ...
    ...     def __init__(self, p=0.5):
    ...         self.p = p
    ...
    ...     def __call__(self, x, mask):
    ...         turned = torch.rand(len(x), 1, device=x.device) < self.p
    ...         return torch.where(turned, -x, x), mask
    >>> rng = np.random.default_rng(0)
    >>> X = {"axis": rng.normal(size=(60, 4)), "other": rng.normal(size=(60, 2))}
    >>> y = np.abs(X["axis"][:, 0]) > 0.7
    >>> clf = MultimodalClassifier(augment={"axis": [RandomSign(0.5)]}, max_epochs=2, n_members=1, random_state=0)
    >>> clf.set_params(augment__axis__0__p=0.3).fit(X, y).predict(X).shape
    (60,)
    """

    kinds: ClassVar[tuple[str, ...]]  # kinds of block that it can change
    standardised: ClassVar[bool] = False  # whether it counts on values of mean 0 and deviation 1

    @abstractmethod
    def __call__(self, x: Any, mask: Tensor) -> tuple[Any, Tensor]:
        """Changed values and mask of n samples; what is written where nothing exists is put back afterwards."""


class JointAugmentation(BoundedParameters, ABC):
    """Base of the augmentations of the whole batch, and of your own.

    Examples
    --------
    >>> from numbers import Real
    >>> import torch
    >>> from skmm.augmentation import Batch, JointAugmentation
    >>> class Louder(JointAugmentation):
    ...     kinds = ("vector",)
    ...     bounds = {"factor": (Real, 1, None)}  # a number from 1
    ...
    ...     def __init__(self, factor=2.0):
    ...         self.factor = factor
    ...
    ...     def __call__(self, batch):
    ...         return batch._replace(values={name: self.factor * x for name, x in batch.values.items()})
    >>> x = torch.ones(4, 3)
    >>> batch = Batch({"a": x, "b": x}, {"a": x[:, 0] > 0, "b": x[:, 0] > 0}, torch.zeros(4), None, axes=1)
    >>> Louder(3.0)(batch).values["b"][0].tolist()
    [3.0, 3.0, 3.0]
    """

    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)
    needs: ClassVar[tuple[str, ...]] = ()  # kinds of which the batch must have one

    @abstractmethod
    def __call__(self, batch: Batch) -> Batch:
        """The changed batch; the given one stays as it is."""


def where_exists(mask: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """The values where the mask over their first axes says that they exist, others elsewhere."""
    return torch.where(with_axes_of(mask, x), x, other)


def draw_integers(high: Tensor, *shape: int) -> Tensor:
    """Whole numbers from 0 to ``high``, each as likely, one for each entry of it; ``shape`` further axes ahead."""
    draw = torch.rand(*shape, *high.shape, device=high.device)
    return torch.minimum((draw * (high + 1)).floor().long(), high)
