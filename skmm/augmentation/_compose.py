"""From what a user writes as ``augment`` to what training calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from skmm._checks import unknown
from skmm.augmentation.base import (
    JOINT,
    Augmentation,
    Batch,
    BoundedParameters,
    JointAugmentation,
    ModalityAugmentation,
    where_exists,
)
from skmm.blocks._blocks import KINDS, BlockInfo
from skmm.layers import SparseRows, with_axes_of


class _OfModality:
    """An augmentation of one modality as a change of the batch; what does not exist stays as it was.

    A block that comes ``unscaled`` is standardised for the augmentation by what its batch holds.
    """

    def __init__(
        self, name: str, change: Callable[[Any, Tensor], tuple[Any, Tensor]], unscaled: BlockInfo | None = None
    ) -> None:
        self.name, self.change, self.unscaled = name, change, unscaled

    def __call__(self, batch: Batch) -> Batch:
        values: Any = batch.values[self.name]
        present = batch.present[self.name]
        given, scale = values, None
        if self.unscaled is not None:
            given, scale = _standardised(values, present, batch.axes, self.unscaled)
        x: Any = given
        if batch.axes == 2:
            x = SparseRows(*(part.flatten(0, 1) for part in x)) if isinstance(x, SparseRows) else x.flatten(0, 1)
        mask = present.flatten(0, batch.axes - 1)
        changed, left = self.change(x, mask)
        if isinstance(x, SparseRows):
            changed = SparseRows(*(where_exists(mask, a, b) for a, b in zip(changed, x, strict=True)))
            changed = SparseRows(*(a.view(b.shape) for a, b in zip(changed, values, strict=True)))
        else:
            changed = where_exists(mask, changed, x).view(values.shape)
        if scale is not None:
            changed = _restored(changed, given, values, scale)
        return batch._replace(
            values={**batch.values, self.name: changed},
            present={**batch.present, self.name: (left & mask).view(present.shape)},
        )


def _standardised(values: Any, present: Tensor, axes: int, info: BlockInfo) -> tuple[Any, Tensor]:
    """Values as scaling would leave them, and the deviations: of each member's batch, per feature or channel."""
    if isinstance(values, SparseRows):  # scaled by the root mean square of what is stored
        stored = (values.weights != 0) & present.unsqueeze(-1)
        scale = _mean(values.weights.square(), stored, axes).sqrt()
        return values._replace(weights=values.weights / _not_zero(scale)), scale
    # a picture of (height, width) has one channel
    x = values.unsqueeze(-1) if info.kind == "image" and len(info.shape) == 2 else values
    there = with_axes_of(present, x).expand(*x.shape[:-1], 1)
    centred = x - _mean(x, there, axes)
    scale = _mean(centred.square(), there, axes).sqrt()
    x = (centred / _not_zero(scale)).reshape(values.shape)
    return x, scale if values.ndim == scale.ndim else scale.squeeze(-1)


def _mean(x: Tensor, there: Tensor, axes: int) -> Tensor:
    """Mean over all axes from the samples' to the last but one, of sparse rows over that too, as a broadcast."""
    over = tuple(range(axes - 1, x.ndim if there.shape == x.shape else x.ndim - 1))
    total = torch.where(there, x, 0.0).sum(over, keepdim=True)
    return total / there.sum(over, keepdim=True).clamp(min=1)


def _not_zero(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, 1.0)


def _restored(changed: Any, given: Any, values: Any, scale: Tensor) -> Any:
    """What became of standardised values, in the units of the values; bit for bit these where nothing changed."""
    if isinstance(changed, SparseRows):
        return changed._replace(weights=_restored(changed.weights, given.weights, values.weights, scale))
    return values + scale * (changed - given)


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


def compose(
    augment: Any, infos: Mapping[str, BlockInfo], scalers: Mapping[str, Any] | None = None
) -> tuple[Augmentation, ...]:
    """The changes of a batch that ``augment`` stands for, checked against the modalities.

    Parameters
    ----------
    augment : dict of str to augmentations, or None
        As an estimator has it.
    infos : mapping of str to BlockInfo
        The modalities.
    scalers : mapping of str to scaler or None, optional
        What standardises each modality; None for one that is read as it comes. Without the mapping all are taken
        to be standardised.

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
            unscaled = scalers is not None and scalers.get(name) is None and getattr(change, "standardised", False)
            changes.append(_OfModality(name, change, infos[name] if unscaled else None))
        if isinstance(change, BoundedParameters):
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
