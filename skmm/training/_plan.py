"""What each sample of a fit is for: who trains on it, who leaves it out, with which weight."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, check_cv

from skmm._checks import is_whole
from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.inputs._batches import Batches
from skmm.training._sets import TrainingSet

_MEMBERS_TO_HALVE = 4  # members of which half can leave folds out, at least two of them


@dataclass(frozen=True)
class Folds:
    """Which of the samples that train are left out together, and by whom.

    Attributes
    ----------
    fold : ndarray of int, shape (n,)
        The fold in which each is left out, -1 for none.
    seen : ndarray of bool, shape (n_folds, n)
        What is learned from where a fold is left out; not all others, where folds follow a time.
    whole : bool
        Whether only half of the members leave a fold out, and the other half, which see all, predict alone: where
        a fold takes so much away that who lacks it predicts worse than who does not.
    """

    fold: np.ndarray
    seen: np.ndarray
    whole: bool = False

    @classmethod
    def none(cls, n: int) -> Folds:
        """Nothing of n samples is left out."""
        return cls(np.full(n, -1), np.ones((0, n), dtype=bool))

    @classmethod
    def partition(cls, fold: np.ndarray, *, whole: bool = False) -> Folds:
        """Folds (n,) from 0, each left out by who sees all others."""
        return cls(fold, fold != np.arange(fold.max() + 1)[:, None], whole)

    def __len__(self) -> int:
        return len(self.seen)

    @property
    def follow_time(self) -> bool:
        """Whether some fold is left out by who does not see all others."""
        return not np.array_equal(self.seen, self.fold != np.arange(len(self.seen))[:, None])

    def cut(self, rows: np.ndarray) -> Folds:
        """Those of some of the samples."""
        return Folds(self.fold[rows], self.seen[:, rows], self.whole)

    def left_out(self, member: int, n_members: int) -> int | None:
        """The fold that a member does not see."""
        if not len(self.seen) or (self.whole and member >= n_members // 2):
            return None
        return member % len(self.seen)

    def members(self, n_members: int) -> list[np.ndarray]:
        """What each member trains on, as positions."""
        folds = [self.left_out(k, n_members) for k in range(n_members)]
        everything = np.arange(len(self.fold))
        return [everything if f is None else np.flatnonzero(self.seen[f]) for f in folds]

    def speakers(self, n_members: int) -> list[int]:
        """The members that predict."""
        return [k for k in range(n_members) if not self.whole or self.left_out(k, n_members) is None]

    def blind(self, n_members: int) -> np.ndarray:
        """Weights that average, for each sample, the members that did not see its fold: (K, n), 0 for no fold."""
        fold = np.array([-2 if (f := self.left_out(k, n_members)) is None else f for k in range(n_members)])
        blind = (fold[:, None] == self.fold).astype(float)
        return blind / blind.sum(axis=0).clip(min=1)

    def told(self) -> np.ndarray:
        """Which samples are left out by some, as positions."""
        return np.flatnonzero(self.fold >= 0)

    def merged(self, n: int) -> Folds:
        """At most so many folds, of which each is several of these; folds that follow a time stay as they are."""
        if len(self.seen) <= n or self.follow_time:
            return self
        return Folds.partition(np.where(self.fold >= 0, self.fold % n, -1))


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
    folds : Folds
        Of those that train.
    blind : bool
        Whether each fold is new to the members that leave it out.
    scored : ndarray of shape (n_samples,)
        Weights that a score gives.
    groups : ndarray of int, shape (len(train),), or None
        Group of each that trains.
    """

    blocks: Blocks
    target: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    owner: np.ndarray
    train: np.ndarray
    valid: np.ndarray | None
    folds: Folds
    blind: bool
    scored: np.ndarray
    groups: np.ndarray | None = None

    def members(self, n_members: int) -> list[np.ndarray]:
        """Those that each member trains on, as positions in ``rows``."""
        return [self.train[own] for own in self.folds.members(n_members)]

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
    n_members: int,
    labels: np.ndarray | None,
    groups: np.ndarray | None,
    n_samples: int,
    seed: int,
) -> Folds:
    """Folds of the samples, stratified by class and never parting a group; none where none can be made.

    Parameters
    ----------
    n_members : int
        Folds wanted; fewer are made where a class has fewer samples. Where there are fewer than two groups for each
        member, half of the members leave groups out.
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
    Folds
    """
    # folds of single samples, each all there is of its class, would teach a member nothing
    if n_members == 1 or n_samples < 2 or (labels is not None and np.bincount(labels).max() < 2):
        return Folds.none(n_samples)
    limits = {"samples": n_samples}
    if labels is not None:
        counts = np.bincount(labels)
        limits["samples of the smallest class"] = int(counts[counts > 0].min())
    wanted, whole = n_members, False
    if groups is not None:
        limits["groups"] = len(np.unique(groups))
        if limits["groups"] < 2:
            raise ValueError(
                f"groups holds a single group for {n_samples} samples; at least two are needed to leave one out. "
                "Leave groups out of fit, or set n_members=1."
            )
        if whole := n_members >= _MEMBERS_TO_HALVE and limits["groups"] < 2 * n_members:
            wanted = n_members // 2
    what = min(limits, key=lambda key: limits[key])
    n_folds = max(2, min(wanted, limits[what]))
    if n_folds < wanted and not whole:
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
    return Folds.partition(folds, whole=whole)


def folds_of_time(n_members: int, times: np.ndarray, groups: np.ndarray | None) -> Folds:
    """Folds of consecutive samples, each left out by who sees only what was before: times (n,) as numbers.

    The first part is left out by none. What is of one time stays together, and of a group that a fold has nothing
    is seen where that fold is left out.
    """
    n_parts = n_members // 2 + 1
    order = np.sort(times)
    starts = np.unique(order[[len(times) * part // n_parts for part in range(1, n_parts)]])
    fold = np.searchsorted(starts, times, side="right") - 1
    fold -= fold.min() + 1  # the first part is that before the first start, or from there on if none is before
    if fold.max() < 0:
        raise ValueError(
            f"time holds {len(np.unique(times))} distinct value(s) for {len(times)} samples, too few to leave "
            "later ones out. Leave time out of fit."
        )
    seen = fold < np.arange(fold.max() + 1)[:, None]
    if groups is not None:
        for f, own in enumerate(seen):
            own &= ~np.isin(groups, groups[fold == f])
            if not own.any():
                raise ValueError(
                    f"time and groups: every group before part {f + 2} of {len(seen) + 1} is in that part too, so "
                    "nothing is left to learn from. Leave groups out of fit."
                )
    return Folds(fold, seen, whole=True)


def folds_of_splits(n_members: int, splits: list[tuple[np.ndarray, np.ndarray]], n_samples: int) -> Folds:
    """Folds by what a splitter gave: pairs of positions to learn from and to leave out."""
    fold, seen = np.full(n_samples, -1), np.zeros((len(splits), n_samples), dtype=bool)
    for f, (train, left_out) in enumerate(splits):
        fold[left_out] = f
        seen[f, train] = True
    for f, own in enumerate(seen):
        own[fold == f] = False
        if not own.any():
            raise ValueError(f"cv, fold {f}: beside the rows that it leaves out there is none to learn from.")
    if (fold < 0).all():
        raise ValueError(
            "cv leaves out no row, and what the stack and experts learn from are predictions of such rows; give a "
            "splitter that does, or leave cv at None."
        )
    whole = not np.array_equal(seen, fold != np.arange(len(splits))[:, None])
    most = n_members // 2 if whole else n_members
    if len(splits) > most:
        raise ValueError(
            f"cv gives {len(splits)} folds, each of which a member must leave out, and n_members={n_members} "
            f"has {most} for that{' (the other half sees all, and predicts)' if whole else ''}; set "
            f"n_members={len(splits) * (1 + whole)}, or give cv fewer splits."
        )
    return Folds(fold, seen, whole)


def check_number_of_folds(cv: Any, n_members: int) -> None:
    """Refuse a number of folds that leaves nothing out, or that there are too few members for."""
    if isinstance(cv, bool) or (is_whole(cv) and cv < 2):
        raise ValueError(f"cv={cv!r} leaves nothing out; give 2 folds or more, a splitter, or None.")
    if is_whole(cv) and cv > n_members > 1:
        raise ValueError(
            f"cv={cv} folds need as many members, each of which leaves one out, and n_members={n_members}; set "
            f"n_members={cv}, or give fewer folds."
        )


def splits_of(
    cv: Any, y: Any, groups: Any, n_samples: int, *, classify: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What a splitter, a number or pairs give, as pairs of positions: to learn from, and to leave out."""
    given = cv
    if hasattr(cv, "split") or not isinstance(cv, Iterable):  # a string, too, which is refused there
        given = check_cv(cv, y, classifier=classify).split(np.zeros(n_samples), y, groups)
    splits = []
    for f, pair in enumerate(given):
        if not isinstance(pair, Collection) or len(pair) != 2:
            raise ValueError(f"cv, fold {f}: expected rows to learn from and rows to leave out, got {pair!r}.")
        train, left_out = (_positions(rows, f, n_samples) for rows in pair)
        splits.append((train, left_out))
    return splits


def _positions(given: Any, fold: int, n_samples: int) -> np.ndarray:
    """Rows of a fold as positions."""
    rows = np.ravel(given)
    if rows.dtype == bool and len(rows) == n_samples:
        return np.flatnonzero(rows)
    wrong = np.ones(len(rows), dtype=bool) if rows.dtype.kind not in "iu" else (rows < 0) | (rows >= n_samples)
    if wrong.any():
        raise ValueError(
            f"cv, fold {fold}: {rows[wrong][0].item()!r} is the position of none of the {n_samples} rows, 0 to "
            f"{n_samples - 1}."
        )
    return rows.astype(np.int64)


def encode_marks(values: np.ndarray, name: str) -> np.ndarray:
    """Groups or times as numbers from 0, in their order; every sample must have one."""
    lacking = np.array([value is None or value != value for value in values.tolist()], dtype=bool)
    if lacking.any():
        row = int(lacking.argmax())
        what = name.removesuffix("s")
        raise ValueError(f"{name}, row {row}: {values[row]!r} is no {what}; every sample needs one.")
    return np.unique(values, return_inverse=True)[1]
