"""The stack of a fit: learned from what members and experts say of the samples that they left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from skmm._devices import seeded
from skmm._ranks import current
from skmm.augmentation import Batch, ModalityDropout
from skmm.estimators._experts import ExpertFolds
from skmm.estimators._flat import as_unseen
from skmm.estimators._heads import reduced
from skmm.estimators._stack import MIXING, WEAK_PULL, Stack, average, effective_size
from skmm.estimators._targets import Target, exact
from skmm.inputs._batches import Batches, ChangedBatches
from skmm.inputs._inputs import Inputs
from skmm.layers import Masks, Values
from skmm.table import Table
from skmm.training._net import MultimodalNet
from skmm.training._plan import Folds, TrainingPlan
from skmm.training._sets import TrainingSet

# Folds that a stack is fitted without, for the outputs by which stacks are compared, each several of the members'.
_FOLDS = 4


class LeftOut(NamedTuple):
    """Samples as those read them that left them out.

    Attributes
    ----------
    data : Batches
        Samples.
    rows : ndarray of int
        Of these the ones that some left out.
    at : ndarray of int
        Which of the samples that train these are.
    """

    data: Batches
    rows: np.ndarray
    at: np.ndarray


def left_out(inputs: Inputs, training: TrainingSet, plan: TrainingPlan) -> LeftOut:
    """The samples that some left out; what of a sparse block nobody knew without them is taken away."""
    at = plan.folds.told()
    rows = plan.rows[plan.train]
    if any(info.kind == "sparse" for info in inputs.infos.values()) and not training.data.lazy:
        unseen = as_unseen(plan.blocks[rows], plan.folds)
        return LeftOut(inputs.load(unseen, torch.float32, training.data.device), at, at)
    return LeftOut(training.data, rows[at], at)


def average_left_out(net: MultimodalNet, target: Target, samples: LeftOut, plan: TrainingPlan) -> np.ndarray:
    """Outputs (n, C) of the samples that train, each the mean over the members that left it out; NaN for none."""

    def averaged(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> np.ndarray:
        return average(target, outputs[:, :, 0])

    found = _by_those_that_left_out(net, samples, plan.folds, averaged)
    return _placed(found, samples.at, len(plan.train))


def _by_those_that_left_out(
    net: MultimodalNet,
    samples: LeftOut,
    folds: Folds,
    reduce: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """What is left (n, ...) of the outputs of the samples, each by the members that left it out.

    ``reduce`` takes positions, outputs (members, m, H, C) and which heads speak (m, H). No others are asked, unless
    samples are read lazily: these are read once, as they lie, for all members.
    """
    told = folds.blind(net.module_.n_members)[:, samples.at] > 0
    blind, which = np.unique(told, axis=1, return_inverse=True)
    n, patterns = len(samples.at), range(blind.shape[1])
    parts = [np.arange(n)] if samples.data.lazy else [np.flatnonzero(which == p) for p in patterns]
    answers: list[np.ndarray] = []
    for places in parts:
        asked = np.flatnonzero(blind[:, np.unique(which[places])].any(axis=1))

        def answered(
            at: np.ndarray,
            outputs: np.ndarray,
            exists: np.ndarray,
            places: np.ndarray = places,
            asked: np.ndarray = asked,
        ) -> tuple[np.ndarray, ...]:
            at = places[at]
            each = {p: np.flatnonzero(which[at] == p) for p in np.unique(which[at])}
            found = [reduce(at[own], outputs[blind[asked, p]][:, own], exists[own]) for p, own in each.items()]
            back = np.argsort(np.concatenate([*each.values()]))
            return (np.concatenate(found)[back],)

        members = None if len(asked) == len(blind) else asked.tolist()
        answers += reduced(
            net, samples.data, torch.float32, answered, samples.rows[places], everyone=True, members=members
        )
    return np.concatenate(answers)[np.argsort(np.concatenate(parts))]


def _placed(found: np.ndarray, at: np.ndarray, n: int) -> np.ndarray:
    """Outputs of some samples among all, NaN for the others."""
    if len(at) == n:
        return found
    outputs = np.full((n, found.shape[1]), np.nan)
    outputs[at] = found
    return outputs


_MEASURED = 4096  # samples whose loss says whether training goes on


def losses_of_fused(
    target: Target, training: TrainingSet, plan: TrainingPlan, n_members: int, net: MultimodalNet
) -> tuple[float, float]:
    """Mean loss of the members' fused heads on what they left out, and on what they saw, of some of the samples.

    The net may have some of the members: the mean is over all ``n_members``, those of other ranks too.
    """
    at = plan.folds.told()[:_MEASURED]  # their order is one of their content, as good as any
    own = net.members_ or list(range(n_members))
    rows, weights = plan.rows[plan.train[at]], plan.weights[plan.train[at]]
    seen = np.stack([np.isin(at, own) for own in plan.folds.members(n_members)]).astype(float)
    encoded = exact(training.target[torch.from_numpy(rows).to(training.target.device)].cpu())

    def losses(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
        return (
            np.stack([target.loss(torch.from_numpy(o), encoded[at]).numpy() for o in outputs[:, :, 0]], axis=1),
        )

    (found,) = reduced(net, training.data, torch.float32, losses, rows, everyone=True)
    blind = plan.folds.blind(n_members)[:, at]
    sums = np.array([((found.T * w[own] * weights).sum(), (w[own] * weights).sum()) for w in (blind, seen)])
    if net.members_ is not None:
        sums = np.sum(current().decisions.gather(sums), axis=0)
    left_out, known = (sums[:, 0] / sums[:, 1]).tolist()
    return left_out, known


class HeadOutputs(NamedTuple):
    """What the heads and experts of a fit say of samples that they left out: what its stack was fitted to.

    Attributes
    ----------
    heads : list of str
        Names of heads and experts.
    outputs : ndarray of shape (n, n_heads, C), float32
        Log-probabilities, for labels log-odds, or values in deviations; 0 where a head has nothing to say. With
        ``modality_dropout`` the samples come a second time, with modalities hidden.
    rows : ndarray of int, shape (n,)
        The row of X of each.
    target : ndarray of shape (n,) or (n, C)
        What is to be said, as the loss reads it.
    weights : ndarray of shape (n,)
        Their weights.
    groups : ndarray of int, shape (n,)
        Numbers of what counts as one sample.
    fold : ndarray of int, shape (n,)
        Folds of the stack: those of one are left out together.
    left_out : ndarray of int, shape (n,)
        Folds of the members: who left it out said this.
    ordered : bool
        Whether folds follow a time, so that the heads of each learned from others.
    """

    heads: list[str]
    outputs: np.ndarray
    rows: np.ndarray
    target: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    fold: np.ndarray
    left_out: np.ndarray
    ordered: bool = False

    def first(self, n: int) -> HeadOutputs:
        """Those of the first n samples."""
        return self._replace(
            outputs=self.outputs[:n],
            rows=self.rows[:n],
            target=self.target[:n],
            weights=self.weights[:n],
            groups=self.groups[:n],
            fold=self.fold[:n],
            left_out=self.left_out[:n],
        )


def stack_of(
    target: Target, found: HeadOutputs, heads: list[int] | None = None, *, mixing: bool = True
) -> tuple[Stack, np.ndarray]:
    """A stack of some of the heads, by their places, and what stacks say of the samples they were not fitted to.

    Without ``mixing`` it has no mixing matrix, however many samples there are.
    """
    outputs = found.outputs if heads is None else found.outputs[:, heads]
    encoded = exact(torch.from_numpy(found.target))
    known = found.weights, found.groups, found.fold, found.ordered
    return _choose(_Samples(target, outputs, encoded, *known), mixing=mixing)


def losses_of(target: Target, outputs: np.ndarray, found: HeadOutputs) -> np.ndarray:
    """Loss of each of these samples, (n,), at outputs (n, C)."""
    encoded = exact(torch.from_numpy(found.target))
    return np.asarray(target.loss(torch.from_numpy(outputs), encoded).numpy())


def mean_loss(target: Target, outputs: np.ndarray, found: HeadOutputs) -> float:
    """Loss of outputs (n, C) of these samples."""
    return float(np.average(losses_of(target, outputs, found), weights=found.weights))


class StackFit(NamedTuple):
    """What came of fitting a stack.

    Attributes
    ----------
    stack : Stack
        Of all samples.
    outputs : ndarray of shape (n, C)
        Of each sample that trains, by members, experts and a stack that did not see it; NaN where none left it out.
    scores : Table
        What each head alone says of these.
    found : HeadOutputs
        What the stack was fitted to.
    """

    stack: Stack
    outputs: np.ndarray
    scores: Table
    found: HeadOutputs


def fit_stack(
    net: MultimodalNet,
    target: Target,
    training: TrainingSet,
    samples: LeftOut,
    plan: TrainingPlan,
    experts: ExpertFolds,
    names: list[str],
) -> StackFit:
    """The stack of the heads and experts with these names.

    Only of the distinct samples, in their own order: equivalent data sets then give the same to the last bit.
    """
    at, n = samples.at, len(samples.at)
    weights, folds = plan.weights[plan.train][at], plan.folds
    groups = np.arange(n) if plan.groups is None else np.unique(plan.groups[at], return_inverse=True)[1]
    features = _features(net, target, samples, folds, *experts.left_out())
    encoded = exact(training.target.cpu()[plan.rows[plan.train][at]])
    scores = _head_scores(target, features, encoded, weights, names)
    fold = folds.fold[at]
    if hiding := [change for change in net.augment if isinstance(change, ModalityDropout)]:
        # what training hides will be missing, and the heads that are left then speak otherwise
        with seeded(net.seeds[0], training.data.device):
            hidden = _hidden(hiding, plan, experts.inputs.infos)
        more = features_without(net, target, samples, plan, experts, hidden)
        features, encoded = np.concatenate([features, more]), torch.cat([encoded, encoded])
        fold, weights, groups = np.tile(fold, 2), np.tile(weights, 2) / 2, np.tile(groups, 2)
    ordered = folds.follow_time
    weighed = _Samples(target, features, encoded, weights, groups, fold % _FOLDS, ordered)
    stack, outputs = current().first(lambda: _choose(weighed))
    rows = np.resize(plan.rows[plan.train][at], len(fold))
    kept = (
        features.astype(np.float32, copy=False),
        rows,
        encoded.numpy(),
        weights,
        groups,
        fold % _FOLDS,
        fold,
        ordered,
    )
    return StackFit(stack, _placed(outputs[:n], at, len(plan.train)), scores, HeadOutputs(names, *kept))


class _Samples(NamedTuple):
    """What a stack is fitted to, of some samples; ``fold`` says which are left out together."""

    target: Target
    features: np.ndarray
    encoded: torch.Tensor
    weights: np.ndarray
    groups: np.ndarray
    fold: np.ndarray
    ordered: bool

    def loss(self, outputs: np.ndarray) -> float:
        return float(
            np.average(self.target.loss(torch.from_numpy(outputs), self.encoded).numpy(), weights=self.weights)
        )


Crossed = tuple[Stack, dict[int, Stack]]  # of all samples, and of all but those of each fold


def _choose(data: _Samples, *, mixing: bool = True) -> tuple[Stack, np.ndarray]:
    """The stack, or the one head that is better out of fold, and what it says there.

    Where there are samples enough for a mixing matrix, the stack is halfway between one without and one with it, if
    that is not worse than the best head. Which of the two is lower in out-of-fold loss does not matter: that is of
    single members, whose noise a mixing matrix takes up, and predictions are of their mean.
    """
    n_heads = data.features.shape[1]
    convex = _crossed(data)
    alone = [Stack.of_head(data.target, h, n_heads) for h in range(n_heads)]
    best = min(alone, key=lambda stack: data.loss(stack.combine(data.features)))
    alone_told = best.combine(data.features)

    def candidates() -> Iterator[Crossed]:
        if mixing and Stack.mixes(data.target, effective_size(data.weights, data.groups), n_heads):
            yield _halfway(data, convex, _crossed(data, convex[0], mixing=MIXING))
        yield convex
        yield _crossed(data, pull=WEAK_PULL)  # which one head that knows nearly all may need

    for crossed in candidates():
        told = _told(data, crossed)
        if data.loss(told) <= data.loss(alone_told):
            return crossed[0], told
    return best, alone_told


def _crossed(data: _Samples, start: Stack | None = None, **options: Any) -> Crossed:
    options["biased"] = not data.ordered  # a level that rose from one time to the next says nothing of the third
    stack = Stack(data.target, **options)
    stack.fit(data.features, data.encoded, data.weights, start, groups=data.groups)
    others = {}
    for fold in np.unique(data.fold):
        rows = np.flatnonzero(data.fold != fold)
        other = Stack(data.target, **options)
        if len(rows):
            other.fit(data.features, data.encoded, data.weights, stack, rows=rows, groups=data.groups)
        else:  # all samples are of one fold
            other = stack
        others[int(fold)] = other
    return stack, others


def _halfway(data: _Samples, one: Crossed, other: Crossed) -> Crossed:
    given = data.features, data.encoded, data.weights
    between = {
        fold: Stack.halfway(one[1][fold], other[1][fold], *given, np.flatnonzero(data.fold != fold))
        for fold in one[1]
    }
    return Stack.halfway(one[0], other[0], *given), between


def _told(data: _Samples, crossed: Crossed) -> np.ndarray:
    """Outputs (n, C) of the samples of each fold by the stack that was fitted without it."""
    outputs = np.empty(data.features.shape[::2])
    for fold, stack in crossed[1].items():
        rows = np.flatnonzero(data.fold == fold)
        outputs[rows] = stack.combine(data.features, rows)
    return outputs


def _features(
    net: MultimodalNet, target: Target, samples: LeftOut, folds: Folds, said: np.ndarray, says: np.ndarray
) -> np.ndarray:
    """What a stack weighs, (n, H, C): the mean over the members that left a sample out, and what experts said."""
    of_experts = Stack.features(target, said[samples.at], says[samples.at])

    def told(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> np.ndarray:
        z = np.concatenate([Stack.features(target, outputs, exists).mean(axis=0), of_experts[at]], axis=1)
        return z.astype(Stack.stored(len(samples.at) * z[0].size), copy=False)

    return _by_those_that_left_out(net, samples, folds, told)


def features_without(
    net: MultimodalNet,
    target: Target,
    samples: LeftOut,
    plan: TrainingPlan,
    experts: ExpertFolds,
    hidden: np.ndarray,
) -> np.ndarray:
    """What a stack weighs, (n, H, C), where modalities are hidden: (n, M) of the samples that train."""
    shown = LeftOut(_hide(samples, hidden), samples.rows, samples.at)
    places = list(experts.inputs.infos)
    of_experts = hidden[:, [places.index(name) for name in experts.form.names]] if experts.names else None
    return _features(net, target, shown, plan.folds, *experts.left_out(of_experts))


def _head_scores(
    target: Target, features: np.ndarray, encoded: torch.Tensor, weights: np.ndarray, names: list[str]
) -> Table:
    """Score and loss of each head alone, of the samples of which it says something."""
    rows: list[dict[str, Any]] = []
    for h, name in enumerate(names):
        own = features[:, h].astype(np.float64)
        says = np.flatnonzero((own != 0).any(axis=1))
        row = {"head": name, "score": np.nan, "loss": np.nan, "samples": len(says)}
        if len(says) and weights[says].sum() > 0:
            loss = target.loss(torch.from_numpy(own[says]), encoded[says]).numpy()
            row["loss"] = float(np.average(loss, weights=weights[says]))
            if len(says) > 1:
                row["score"] = target.score(own[says], encoded[says].numpy(), weights[says])
        rows.append(row)
    return Table(rows)


def _hidden(hiding: list[ModalityDropout], plan: TrainingPlan, modalities: Iterable[str]) -> np.ndarray:
    """Which modalities of the samples that train are hidden as training hides them, (n, M)."""
    rows = plan.rows[plan.train]
    nothing = np.zeros(len(plan.blocks), dtype=bool)
    there = {name: torch.from_numpy(plan.blocks.present.get(name, nothing)[rows]) for name in modalities}
    batch = Batch({}, there, torch.empty(0), None, axes=1)
    for change in hiding:
        batch = change(batch)
    return np.stack([(there[name] & ~mask).numpy() for name, mask in batch.present.items()], axis=1)


def _hide(samples: LeftOut, hidden: np.ndarray) -> Batches:
    """The samples, of which modalities are hidden: (n, M) of those that train."""
    device = samples.data.device
    kept = torch.ones((len(samples.data), hidden.shape[1]), dtype=torch.bool)
    kept[samples.rows] = torch.from_numpy(~hidden[samples.at])
    kept = kept.to(device)

    def change(rows: torch.Tensor, values: Values, present: Masks) -> tuple[Values, Masks]:
        masks = {}
        for m, (name, mask) in enumerate(present.items()):
            own = kept[rows, m]
            masks[name] = mask & own.view(*own.shape, *[1] * (mask.ndim - own.ndim))
        return values, masks

    return ChangedBatches(samples.data, change)
