"""What each sample of a fit is for: who trains on it, who leaves it out, with which weight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from skmm.augmentation import Batch, ModalityDropout
from skmm.batches import Batches, ChangedBatches
from skmm.blocks import Blocks
from skmm.layers import Masks, Values
from skmm.training import TrainingSet


class TrainingPlan(NamedTuple):
    """Samples, and what each is for.

    Attributes
    ----------
    blocks : Blocks
        All samples.
    target : ndarray
        Their encoded targets.
    rows, distinct : ndarray of shape (n_distinct,)
        A row of each distinct sample, and its weight.
    owner : ndarray of shape (n_samples,)
        Which of these each sample is equal to, or -1.
    train, valid : ndarray of int
        Those that train, and those that stop the training early (None for none), as positions in ``rows``.
    folds : ndarray of shape (len(train),)
        Fold of each that trains, -1 where there are no folds.
    blind : bool
        Whether each fold is new to the members that leave it out.
    scored : ndarray of shape (n_samples,)
        Weights that a score gives.
    """

    blocks: Blocks
    target: np.ndarray
    rows: np.ndarray
    distinct: np.ndarray
    owner: np.ndarray
    train: np.ndarray
    valid: np.ndarray | None
    folds: np.ndarray
    blind: bool
    scored: np.ndarray


def training_set(
    data: Batches, target: torch.Tensor, rows: np.ndarray, weights: np.ndarray, members: list[np.ndarray]
) -> TrainingSet:
    """Rows of each member side by side; the shorter are filled up with rows of weight 0.

    Samples that are read lazily are read once for all members: these have their rows in common, those that a
    member leaves out with weight 0.
    """
    if data.lazy and len(members) > 1:
        common = np.unique(np.concatenate(members))
        filled = rows[common][None]
        each = np.stack([np.where(np.isin(common, c), weights[common], 0.0) for c in members])
        each /= each.mean(axis=1, keepdims=True)
    else:
        longest = max(len(chosen) for chosen in members)
        filled = np.stack([np.pad(rows[c], (0, longest - len(c)), mode="edge") for c in members])
        each = np.stack([np.pad(weights[c] / weights[c].mean(), (0, longest - len(c))) for c in members])
    return TrainingSet(
        data,
        target,
        None if np.ptp(each) == 0 else torch.as_tensor(each, dtype=torch.float32, device=data.device),
        torch.as_tensor(filled, dtype=torch.int64, device=data.device),
    )


def hide(data: Batches, hiding: list[ModalityDropout]) -> Batches:
    """The samples of some batches, of which modalities are hidden as in training."""

    def change(rows: torch.Tensor, values: Values, present: Masks) -> tuple[Values, Masks]:
        batch = Batch(values, present, rows, None, axes=1)
        for each in hiding:
            batch = each(batch)
        return values, batch.present

    return ChangedBatches(data, change)
