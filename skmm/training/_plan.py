"""What each sample of a fit is for: who trains on it, who leaves it out, with which weight."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.inputs._batches import Batches
from skmm.training._sets import TrainingSet


class TrainingPlan(NamedTuple):
    """Samples, and what each is for.

    Attributes
    ----------
    blocks : Blocks
        All samples.
    target : ndarray
        Their encoded targets.
    rows, weights : ndarray of shape (n_distinct,)
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
    weights: np.ndarray
    owner: np.ndarray
    train: np.ndarray
    valid: np.ndarray | None
    folds: np.ndarray
    blind: bool
    scored: np.ndarray

    def members(self, n_members: int) -> list[np.ndarray]:
        """Those that each member trains on, as positions in ``rows``."""
        return [self.train[self.folds != left_out_fold(k, self.folds)] for k in range(n_members)]

    def trained(self) -> np.ndarray:
        """Which of those that train each sample is equal to, (n_samples,), or -1."""
        place = np.full(len(self.rows), -1)
        place[self.train] = np.arange(len(self.train))
        return np.where(self.owner >= 0, place[self.owner], -1)


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


def assign_folds(
    n_members: int, labels: np.ndarray | None, groups: np.ndarray | None, n_samples: int, seed: int
) -> np.ndarray:
    """Fold of each sample, stratified by class and never parting a group; -1 for all where none can be made.

    Parameters
    ----------
    n_members : int
        Folds wanted; fewer are made where a class has fewer samples or there are fewer groups.
    labels : ndarray of int, shape (n_samples,), or None
        Classes to stratify by.
    groups : ndarray of int, shape (n_samples,), or None
        Group of each sample.
    n_samples : int
        Number of samples.
    seed : int
        Seed of the assignment.

    Returns
    -------
    ndarray of int, shape (n_samples,)
    """
    # folds of single samples, each all there is of its class, would teach a member nothing
    if n_members == 1 or n_samples < 2 or (labels is not None and np.bincount(labels).max() < 2):
        return np.full(n_samples, -1)
    limits = {"samples": n_samples}
    if labels is not None:
        counts = np.bincount(labels)
        limits["samples of the smallest class"] = int(counts[counts > 0].min())
    if groups is not None:
        limits["groups"] = len(np.unique(groups))
        if limits["groups"] < 2:
            raise ValueError(
                f"groups holds a single group for {n_samples} samples; at least two are needed to leave one out. "
                "Leave groups out of fit, or set n_members=1."
            )
    what = min(limits, key=lambda key: limits[key])
    n_folds = max(2, min(n_members, limits[what]))
    if n_folds < n_members:
        warn(f"n_members={n_members} is more than the {limits[what]} {what}: the members share {n_folds} folds.")
    options = {"n_splits": n_folds, "shuffle": True, "random_state": seed}
    if groups is not None:
        splitter = GroupKFold(**options) if labels is None else StratifiedGroupKFold(**options)
    else:
        splitter = KFold(**options) if labels is None else StratifiedKFold(**options)
    folds = np.empty(n_samples, dtype=np.int64)
    with warnings.catch_warnings():
        # a class of one sample cannot be in every fold: said above where it limits the folds
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, left_out) in enumerate(splitter.split(np.zeros(n_samples), labels, groups)):
            folds[left_out] = fold
    return folds


def encode_groups(groups: np.ndarray) -> np.ndarray:
    """Groups as numbers from 0; every sample must have one."""
    lacking = np.array([g is None or g != g for g in groups.tolist()], dtype=bool)
    if lacking.any():
        row = int(lacking.argmax())
        raise ValueError(f"groups, row {row}: {groups[row]!r} is no group; every sample needs one.")
    return np.unique(groups, return_inverse=True)[1]


def left_out_fold(member: int, folds: np.ndarray) -> int:
    """The fold that a member does not train on."""
    return member % (int(folds.max()) + 1) if folds.max() >= 0 else -2
