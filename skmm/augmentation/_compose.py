"""From what a user writes as ``augment`` to what training calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from skmm.augmentation.base import (
    JOINT,
    Augmentation,
    Batch,
    BoundedParameters,
    JointAugmentation,
    ModalityAugmentation,
    where_exists,
)
from skmm.blocks import KINDS, BlockInfo
from skmm.layers import SparseRows
from skmm.spec import unknown


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
            changed = SparseRows(*(where_exists(mask, a, b) for a, b in zip(changed, x, strict=True)))
            changed = SparseRows(*(a.view(b.shape) for a, b in zip(changed, values, strict=True)))
        else:
            changed = where_exists(mask, changed, x).view(values.shape)
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
