"""The stack of a fit: learned from what each member says of the samples that it left out."""

from __future__ import annotations

import numpy as np
import torch

from skmm._devices import seeded
from skmm.augmentation import Batch, ModalityDropout
from skmm.estimators._heads import reduced
from skmm.estimators._stack import Stack, average, blind_weights
from skmm.estimators._targets import Target
from skmm.inputs._batches import Batches, ChangedBatches
from skmm.layers import Masks, Values
from skmm.training._net import MultimodalNet
from skmm.training._plan import TrainingPlan
from skmm.training._sets import TrainingSet


def average_left_out(net: MultimodalNet, target: Target, training: TrainingSet, plan: TrainingPlan) -> np.ndarray:
    """Outputs (n, C) of the samples that train, each the mean over the members that left it out."""
    blind = blind_weights(net.module_.n_members, plan.folds)

    def averaged(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
        return (average(target, outputs[:, :, 0], blind[:, at]),)

    (found,) = reduced(net, training.data, torch.float32, averaged, plan.rows[plan.train])
    return found


def fit_stack(
    net: MultimodalNet, target: Target, training: TrainingSet, plan: TrainingPlan
) -> tuple[Stack, np.ndarray]:
    """The stack, and outputs (n, C) of the samples that train, by members and a stack that did not see them.

    Only of the distinct samples, in their own order: equivalent data sets then give the same to the last bit.
    """
    rows, weights, folds = plan.rows[plan.train], plan.weights[plan.train], plan.folds
    features = _left_out(net, target, training.data, rows, folds)
    encoded = training.target.cpu()[rows]
    encoded = encoded.double() if encoded.is_floating_point() else encoded
    if hiding := [change for change in net.augment if isinstance(change, ModalityDropout)]:
        # what training hides will be missing, and the heads that are left then speak otherwise
        with seeded(net.seeds[0], training.data.device):
            more = _left_out(net, target, _hide(training.data, hiding), rows, folds)
        features, encoded = np.concatenate([features, more]), torch.cat([encoded, encoded])
        folds, weights = np.tile(folds, 2), np.tile(weights, 2) / 2
    found = []
    for mixing in Stack.mixings(target, len(rows), features.shape[1]):
        stack, outputs = _crossed(Stack(target, mixing), features, encoded, weights, folds)
        loss = target.loss(torch.from_numpy(outputs), encoded).numpy()
        found.append((np.average(loss, weights=weights), stack, outputs))
    _, stack, outputs = min(found, key=lambda trial: trial[0])
    return stack, outputs[: len(rows)]


def _left_out(net: MultimodalNet, target: Target, data: Batches, rows: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """What a stack weighs, (n, H, C): the mean over the members that left a sample out."""
    blind = blind_weights(net.module_.n_members, folds)

    def left_out(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
        z = np.einsum("kn,knhc->nhc", blind[:, at], Stack.features(target, outputs, exists))
        return (z.astype(Stack.stored(len(rows) * z[0].size), copy=False),)

    (found,) = reduced(net, data, torch.float32, left_out, rows)
    return found


def _crossed(
    stack: Stack, features: np.ndarray, encoded: torch.Tensor, weights: np.ndarray, folds: np.ndarray
) -> tuple[Stack, np.ndarray]:
    """The stack fitted on all samples, and for those of each fold outputs (n, C) of one fitted without it."""
    stack.fit(features, encoded, weights)
    outputs = np.empty(features.shape[::2])
    for fold in np.unique(folds):
        here = folds == fold
        other = Stack(stack.target, stack.mixing)
        other.fit(features, encoded, weights, stack, rows=np.flatnonzero(~here))
        outputs[here] = other.combine(features, np.flatnonzero(here))
    return stack, outputs


def _hide(data: Batches, hiding: list[ModalityDropout]) -> Batches:
    """The samples of some batches, of which modalities are hidden as in training."""

    def change(rows: torch.Tensor, values: Values, present: Masks) -> tuple[Values, Masks]:
        batch = Batch(values, present, rows, None, axes=1)
        for each in hiding:
            batch = each(batch)
        return values, batch.present

    return ChangedBatches(data, change)
