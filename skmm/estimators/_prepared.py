"""What a fit is given, what it knows before there is a network, and what it has open when it ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skmm.blocks import Blocks
from skmm.estimators._experts import ExpertFolds
from skmm.estimators._targets import Target
from skmm.inputs._inputs import Inputs
from skmm.training._net import MultimodalNet
from skmm.training._plan import TrainingPlan
from skmm.training._sets import TrainingSet


class Samples(NamedTuple):
    """What a fit is given, as numbers.

    Attributes
    ----------
    blocks : Blocks
        X.
    form : dict
        Fitted attributes that say what X looked like.
    target : Target
        What is predicted.
    encoded : ndarray of shape (n_samples, ...)
        y as the target encodes it.
    scored, weights : ndarray of shape (n_samples,)
        Weights that a score gives, and those of training, which know class weights.
    groups, times : ndarray of int, shape (n_samples,), or None
        Group of each, and the place of its time among all.
    splits : list of (ndarray, ndarray) or None
        What to learn from, and what to leave out meanwhile, where the user has said.
    """

    blocks: Blocks
    form: dict[str, Any]
    target: Target
    encoded: np.ndarray
    scored: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None
    times: np.ndarray | None
    splits: list[tuple[np.ndarray, np.ndarray]] | None

    @property
    def beside(self) -> dict[str, Any]:
        """What all ranks of a fit must have in common beside X, by the names that a user knows."""
        return {"y": self.encoded, "sample_weight": self.weights, "groups or time": self.marks}

    @property
    def marks(self) -> np.ndarray | None:
        """Numbers (n_samples, ...) in which samples that count as one must agree."""
        found = [x for x in (self.groups, self.times) if x is not None]
        for train, held in self.splits or []:
            place = np.zeros(len(self.blocks), dtype=int)
            place[train], place[held] = 1, 2
            found.append(place)
        return np.column_stack(found) if found else None


class Prepared(NamedTuple):
    """What a fit knows before there is a network; nothing of it is changed later.

    Attributes
    ----------
    plan : TrainingPlan
        The samples, and what each is for.
    inputs : Inputs
        What is remembered of the modalities.
    target : Target
        What is predicted.
    random : RandomState
        From which the fit draws on, in a copy.
    split_seed : int
        Seed of the parts that are held out.
    seen : str or None
        What the members trained on, where they are blind to folds of it.
    experts : ExpertFolds
        What joins the network in the stack, fitted when it is asked for.
    form : dict
        Fitted attributes that say what X looked like.
    """

    plan: TrainingPlan
    inputs: Inputs
    target: Target
    random: np.random.RandomState
    split_seed: int
    seen: str | None
    experts: ExpertFolds
    form: dict[str, Any]


class Opened(NamedTuple):
    """What a fit had open when it ended.

    Attributes
    ----------
    prepared : Prepared
        What it knew before there was a network.
    training : TrainingSet
        The samples on the device, as the members trained on them.
    """

    prepared: Prepared
    training: TrainingSet


def check_goes_on(net: MultimodalNet, n_members: int, n_heads: int) -> None:
    """Refuse to go on training a net that has other members, or fewer heads, than a fit makes."""
    if net.module_.n_members != n_members:
        raise ValueError(f"n_members={n_members} is not that of the first fit, {net.module_.n_members}.")
    if len(net.module_.network.heads) < n_heads:
        raise ValueError("heads of the network were pruned: it does not go on training. Fit it anew.")
