"""Networks of one shape, of several estimators, trained in one loop.

What differs between them goes along the member axis: rows, orders of batches, rates of dropout. Each estimator's
parameters are slices of stacked tensors, and those that share optimizer, learning rate and weight decay are stepped
by one, so all of these may differ, and what is not stepped stays as it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn, optim

from skmm._devices import seeded
from skmm._private import tree_map
from skmm._progress import Progress, progress
from skmm._ranks import current
from skmm.augmentation import Batch, ModalityDropout
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._prepared import Prepared
from skmm.estimators._trained import TrainedEstimator
from skmm.inputs._columns import DenseColumn, take_rows
from skmm.layers import unsupported
from skmm.model_selection._search_networks import JointNetworks, JointRows, join_batches, joinable
from skmm.network._members import faster_one_by_one, picture_modalities
from skmm.network._network import FusionNetwork
from skmm.training._losses import HeadsLoss
from skmm.training._net import MultimodalNet
from skmm.training._optimizers import make_optimizer, set_lr
from skmm.training._sets import TrainingSet, order_generator
from skmm.training._steps import BestWeights, batch_loss, clip_gradients, divergence

# Optimizers that treat every number for itself: those of others may be changed by what they are stacked with.
_ELEMENTWISE = frozenset(
    {
        *(optim.Adadelta, optim.Adagrad, optim.Adam, optim.Adamax, optim.AdamW, optim.ASGD, optim.NAdam),
        *(optim.RAdam, optim.RMSprop, optim.Rprop, optim.SGD),
    }
)


@dataclass(eq=False)
class Learner:
    """An estimator whose network is built, but not trained.

    Parameters
    ----------
    estimator : MultimodalEstimator
        The estimator, which is fitted when :meth:`complete` was called.
    prepared : Prepared
        What it knows of the samples.
    random : RandomState
        From which it draws on.
    net : MultimodalNet
        Its net.
    training, validation : TrainingSet
        The rows that train it, and those that stop its training early, if any.
    candidate : int or str
        Learners of the same name share all hyperparameters.
    """

    estimator: MultimodalEstimator
    prepared: Prepared
    random: np.random.RandomState
    net: MultimodalNet
    training: TrainingSet
    validation: TrainingSet | None
    candidate: int | str
    n_epochs: int = 0
    finished: bool = False
    error: ValueError | None = None

    def complete(self, estimator: MultimodalEstimator | None = None) -> None:
        """Make the estimator, or another one, a fitted one of what the net has learned."""
        (estimator or self.estimator)._complete(self.prepared, self.random, self.net, self.training)

    @property
    def n_members(self) -> int:
        return self.net.module_.n_members

    @property
    def n_batches(self) -> int:
        return self.net.n_batches(self.training)

    def pace(self) -> tuple[str, int]:
        """What two learners agree on whose weights one optimizer can step."""
        net = self.net
        spec = net.optimizer_spec
        return (
            joblib.hash((spec.target(), spec.resolve(), net.lr, net.weight_decay, net.schedule, net.max_epochs)),
            self.n_batches,
        )

    def network(self) -> FusionNetwork:
        """One of its networks, of several members one without weights."""
        return self.net.module_.network


def obstacle(learner: Learner) -> str:
    """Why a learner cannot be trained together with others, or nothing."""
    estimator, net = learner.estimator, learner.net
    if current().world_size > 1:
        return "its rows or members are divided among ranks"
    if estimator.callbacks:
        return "it has callbacks of its own"
    if getattr(estimator, "_skl_callbacks", None):
        return "scikit-learn's callbacks are set on it"
    if estimator.time_limit is not None:
        return "it has a time limit"
    if estimator._goes_on(learner.prepared.plan):
        return "it trains for as long as what its members leave out says"
    if own := step_of_its_own(estimator):
        return own
    optimizer = net.optimizer_spec.target()
    if optimizer not in _ELEMENTWISE:
        return f"optimizer {optimizer.__name__} is not known to treat each weight for itself"
    if not net.module_.vectorized:
        return unsupported(learner.network(), "vmap") or "it has buffers that a training step may write to"
    if net.compiled:
        return "it is compiled"
    if net.precision == "16":
        return "its loss is scaled for float16, each network's by its own factor"
    if any(factor != 1 for factor in net.module_.lr_factors().values()):
        return "an encoder has a learning rate of its own"
    if not all(p.requires_grad for p in net.module_.parameters()):
        return "some of its weights are frozen"
    for modality, column in learner.training.data.columns.items():
        if not joinable(column):
            return f"modality {modality!r} is read only when a batch is cut"
    return ""


def step_of_its_own(estimator: MultimodalEstimator) -> str:
    """What a subclass of the user's has changed of the fit, or nothing."""
    steps = [name for name in vars(MultimodalEstimator) | vars(TrainedEstimator) if name[0] == "_" != name[1]]
    for step in ("fit", *steps):
        own = getattr(type(estimator), step)
        if callable(own) and not own.__module__.startswith("skmm."):
            return f"{type(estimator).__name__} has a {step} of its own"
    return ""


def slower_together(learner: Learner) -> str:
    """Why a learner and others of its shape are faster trained one after another, or nothing."""
    for name in picture_modalities(learner.network()):
        n_numbers = learner.net.batch_size * math.prod(learner.prepared.inputs.infos[name].shape)
        if faster_one_by_one(n_numbers, learner.training.data.device):
            return f"a batch of the pictures of {name!r} is so large that a CPU is faster one network after another"
    return ""


def shape(learner: Learner) -> str:
    """What two learners must agree on to be trained together, as a hash.

    Raises
    ------
    Exception
        If something in the network cannot be hashed.
    """
    base = set(vars(nn.Module()))
    layers = [
        (
            type(layer),
            # rates of dropout may differ
            {
                k: v
                for k, v in vars(layer).items()
                if k not in base and not (k == "p" and type(layer) is nn.Dropout)
            },
            [(name, tuple(x.shape), x.requires_grad) for name, x in layer.named_parameters(recurse=False)],
            [(name, tuple(x.shape)) for name, x in layer.named_buffers(recurse=False)],
        )
        for layer in learner.network().modules()
    ]
    # how strongly batches are changed may differ, and whether modalities are hidden
    changes = [a for a in learner.net.augment if not isinstance(a, ModalityDropout)]
    forms = [(getattr(a, "name", ""), type(getattr(a, "change", a))) for a in changes]
    data = learner.training
    columns = [data.data.columns.get(name) for name in data.data.names]
    # of raw samples all are scaled or none is
    kinds = [(type(c).__name__, isinstance(c, DenseColumn) and c.raw and c.scaler is None) for c in columns]
    how = (
        learner.net.batch_size,
        learner.net.precision,
        str(data.data.device),
        learner.validation is None,
        data.target.shape[1:],
    )
    return joblib.hash((layers, forms, kinds, how))


# -- the loop -----------------------------------------------------------------------------------------------------


class _RandomState:
    """torch's random numbers of a learner's own: what it draws does not depend on what it is trained with."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        with seeded(seed, device):
            self.state = self._current()

    def _current(self) -> tuple[Tensor, ...]:
        on_gpu = self.device.type == "cuda"
        return torch.get_rng_state(), *((torch.cuda.get_rng_state(self.device),) if on_gpu else ())

    def _set(self, state: tuple[Tensor, ...]) -> None:
        torch.set_rng_state(state[0])
        for other in state[1:]:
            torch.cuda.set_rng_state(other, self.device)

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Let torch draw these numbers, from where it stopped."""
        before = self._current()
        self._set(self.state)
        try:
            yield
        finally:
            self.state = self._current()
            self._set(before)


class _OptimizerGroup:
    """Learners of one pace: consecutive members that one optimizer steps.

    Parameters
    ----------
    learners : list of Learner
        Whose settings of the optimizer are the same.
    start : int
        The first of their members.
    module : JointNetworks
        The networks, whose tables the optimizer writes to.
    """

    def __init__(self, learners: list[Learner], start: int, module: JointNetworks) -> None:
        self.learners = learners
        net = learners[0].net
        self.n_batches, self.schedule, self.lr = learners[0].n_batches, net.schedule, net.base_lr_
        self.n_steps, self.total_steps = 0, net.max_epochs * self.n_batches
        self.tables = [nn.Parameter(table) for table in module.tables]
        self._bind(start, module)
        weights, rest = self.tables
        self.optimizer = make_optimizer(
            net.optimizer_spec, [weights], [rest], lr=self.lr, weight_decay=net.weight_decay
        )

    def _bind(self, start: int, module: JointNetworks) -> None:
        """Let the optimizer's parameters be the members from ``start`` on."""
        self.start, self.stop = start, start + sum(learner.n_members for learner in self.learners)
        for own, table, gradient in zip(self.tables, module.tables, module.gradients, strict=True):
            own.data, own.grad = table[self.start : self.stop], None
            own.grad = gradient[self.start : self.stop]

    def keep(self, learners: list[Learner], members: Tensor, start: int, module: JointNetworks) -> None:
        """Go on with some of the learners, whose members these were among the group's."""
        for own in self.tables:
            state = self.optimizer.state[own]
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == own.shape:
                    state[key] = value[members]
        self.learners = learners
        self._bind(start, module)

    def step(self) -> None:
        set_lr(self.optimizer, self.lr, self.schedule, self.n_steps, self.total_steps)
        self.n_steps += 1
        self.optimizer.step()


class SearchLoop:
    """Trains learners of one :func:`shape` in one loop, an epoch of all after the other.

    Parameters
    ----------
    learners : list of Learner
        What is trained; none has an :func:`obstacle`.

    Attributes
    ----------
    learners : list of Learner
        Those still in training.
    epoch : int
        Epochs done.
    """

    def __init__(self, learners: list[Learner]) -> None:
        paces: dict[Any, list[Learner]] = {}
        for learner in learners:
            paces.setdefault(learner.pace(), []).append(learner)
        self.learners = [learner for group in paces.values() for learner in group]
        self.epoch, self.bar = 0, Progress()
        self.orders = {x: [order_generator(s) for s in x.net.seeds] for x in self.learners}
        first = self.learners[0]
        self.device = first.training.data.device
        # dropout of a member does not depend on what it is stacked with
        self.noise = {x: [torch.Generator(self.device).manual_seed(s) for s in x.net.seeds] for x in self.learners}
        self.random = {x: _RandomState(x.net.seeds[0], self.device) for x in self.learners}
        self.batch_size = first.net.batch_size
        modules = [learner.net.module_ for learner in self.learners]
        self.module = JointNetworks(modules, first.network())
        sets = list({id(x.training.data): x.training for x in self.learners}.values())
        self.data = sets[0].data if len(sets) == 1 else join_batches([s.data for s in sets])
        self.target = torch.cat([s.target for s in sets])
        before = torch.tensor([0, *(len(s.data) for s in sets)]).cumsum(0).tolist()
        self.first_row = {id(s.data): n for s, n in zip(sets, before, strict=False)}
        self.groups: list[_OptimizerGroup] = []
        start = 0
        for together in paces.values():
            self.groups.append(_OptimizerGroup(together, start, self.module))
            start = self.groups[-1].stop
        self.best = None
        if first.validation is not None:
            estimators = [learner.estimator for learner in self.learners]
            patience = self._per_member([e.n_iter_no_change for e in estimators], torch.int64).cpu()
            self.best = BestWeights(start, patience, self._per_member([e.tol for e in estimators]).cpu())
        self._arrange()

    def _per_member(self, values: list[Any], dtype: torch.dtype = torch.float32) -> Tensor:
        """A value of each learner for each of its members, (K,)."""
        counts = torch.tensor([learner.n_members for learner in self.learners])
        return torch.tensor(values, dtype=dtype).repeat_interleave(counts).to(self.device)

    def _arrange(self) -> None:
        """Lay out along the member axis what the learners in training are."""
        learners = self.learners
        self.bounds, start = {}, 0
        for learner in learners:
            self.bounds[learner] = (start, start + learner.n_members)
            start += learner.n_members
        self.training = self._rows([learner.training for learner in learners], self.batch_size)
        if self.best is not None:
            # as many at a time as training has in activations, which these need not keep
            size = max(self.batch_size, 128)
            self.validation = self._rows([x.validation for x in learners if x.validation is not None], size)
        rates = [[m.p for m in x.network().modules() if type(m) is nn.Dropout] for x in learners]
        for layer, each in zip(self.module.dropouts, zip(*rates, strict=True), strict=True):
            layer.set_rates(self._per_member(list(each)))
        estimators = [learner.estimator for learner in learners]
        per_sample = learners[0].net.criterion_.per_sample
        self.criterion = HeadsLoss(per_sample, self._per_member([e.modality_loss for e in estimators]))
        limits = [e.clip_grad_norm for e in estimators]
        self.largest = None
        if any(limits):
            self.largest = self._per_member([math.inf if limit is None else limit for limit in limits])

    def _rows(self, sets: list[TrainingSet], size: int) -> JointRows:
        return JointRows(sets, [self.first_row[id(s.data)] for s in sets], size, self.device)

    # -- training ------------------------------------------------------------------------------------------------

    def run(self, until: int | None = None) -> None:
        """Train until all have finished, or until so many epochs were done."""
        longest = max(x.net.max_epochs for x in self.learners) if self.learners else 0
        epochs = (longest if until is None else min(until, longest)) - self.epoch
        with progress(f"training {len(self.learners)} together", epochs * self._n_batches()) as self.bar:
            while self.learners and (until is None or self.epoch < until):
                self._run_epoch()
                self.bar.note(epoch=f"{self.epoch}/{longest}")

    def _n_batches(self) -> int:
        return max((learner.n_batches for learner in self.learners), default=0)

    def _run_epoch(self) -> None:
        """One pass of all, after which some may have finished."""
        train = self._train()
        valid = self._validate() if self.best is not None else None
        self.epoch += 1
        for learner in self.learners:
            self._note(learner, train, valid)
        if self.best is not None and valid is not None:
            self.best.note(valid, self.module.tables)
        for learner in self.learners:
            a, b = self.bounds[learner]
            stopped = self.best is not None and bool(self.best.stopped[a:b].all())
            if stopped or self.epoch >= learner.net.max_epochs:
                learner.finished = True
        self.drop([x for x in self.learners if x.finished or x.error is not None])

    def _train(self) -> Tensor:
        """One pass over the training rows; mean loss of each member."""
        generators = [g for learner in self.learners for g in self.orders[learner]]
        noise = [g for learner in self.learners for g in self.noise[learner]]
        self.module.train()
        losses = []
        parameters = list(self.module.stacked)
        for step, (rows, weights) in enumerate(self.training.batches(generators)):
            batch = self._augmented(self._cut(rows, weights))
            self.module.drop_out(batch.values, batch.present, noise)
            loss = self._loss(batch)
            found = torch.autograd.grad(loss.sum(), parameters, materialize_grads=True)
            for own, gradient in zip(self.module.gradient_of_each, found, strict=True):
                own.copy_(gradient)
            if self.largest is not None:
                clip_gradients(self.module.gradients, self.largest)
            for group in self.groups:
                if step < group.n_batches:
                    group.step()
            losses.append(loss.detach())
            self.bar.advance()
        return self.training.mean(losses)

    @torch.no_grad()
    def _validate(self) -> Tensor:
        self.module.eval()
        batches = self.validation.batches()
        return self.validation.mean([self._loss(self._cut(rows, weights)) for rows, weights in batches])

    def _cut(self, rows: Tensor, weights: Tensor | None) -> Batch:
        values, present = self.data.take(rows)
        return Batch(values, present, take_rows(self.target, rows), weights, axes=2)

    def _augmented(self, batch: Batch) -> Batch:
        """Each learner's own changes of its members' part of a batch."""
        if not any(learner.net.augment for learner in self.learners):
            return batch
        parts = []
        for learner, members in self.bounds.items():
            part = tree_map(lambda x, m=slice(*members): x[m] if isinstance(x, Tensor) else x, batch)
            with self.random[learner].drawing():
                for change in learner.net.augment:
                    part = change(part)
            parts.append(part)
        if any(part.weights is not None for part in parts):
            one = torch.ones((), device=self.device)
            sizes = [next(iter(part.present.values())).shape[:2] for part in parts]
            parts = [
                p if p.weights is not None else p._replace(weights=one.expand(size))
                for p, size in zip(parts, sizes, strict=True)
            ]
        return tree_map(lambda *each: torch.cat(each) if isinstance(each[0], Tensor) else each[0], *parts)

    def _loss(self, batch: Batch) -> Tensor:
        net = self.learners[0].net
        with net.arithmetic():
            output = self.module(batch.values, batch.present, own_rows=True)
        if net.precision != "32":
            output = output.float()
        return batch_loss(self.criterion, output, batch, len(output))

    def _note(self, learner: Learner, train: Tensor, valid: Tensor | None) -> None:
        """Enter an epoch in the learner's history, and see whether its loss is a number still."""
        a, b = self.bounds[learner]
        learner.n_epochs += 1
        net = learner.net
        net.history.new_epoch()
        net.history.record("epoch", learner.n_epochs)
        for prefix, losses in (("train", train), ("valid", valid)):
            if losses is None:
                continue
            own = losses[a:b]
            learner.error = learner.error or divergence(f"{prefix} loss", own, learner.n_epochs, net.base_lr_)
            net.history.record(f"{prefix}_loss", own.mean().item())

    def hand_back(self, learner: Learner) -> None:
        """Give a learner its own weights, those of its best epoch if it is stopped early."""
        a, b = self.bounds[learner]
        module = learner.net.module_
        best = [] if self.best is None else self.best.weights  # none yet where no loss was a number
        source = self.module.views(best or self.module.tables)
        with torch.no_grad():
            for own, stacked in zip(module.parameters(), source, strict=True):
                own.copy_(stacked[a] if module.n_members == 1 else stacked[a:b])
        learner.net.copies_ = {}
        learner.error = learner.error or learner.net.diverged()

    def drop(self, learners: list[Learner]) -> None:
        """Give these their weights, and train no more of them."""
        if not learners:
            return
        for learner in learners:
            self.hand_back(learner)
        gone = set(learners)
        self.learners = [learner for learner in self.learners if learner not in gone]
        if not self.learners:
            return

        def members(some: list[Learner], start: int = 0) -> Tensor:
            return torch.cat([torch.arange(*self.bounds[learner]) for learner in some]).to(self.device) - start

        kept = members(self.learners)
        self.module.keep(kept)
        if self.best is not None:
            self.best.keep(kept)
        groups, start = [], 0
        for group in self.groups:
            rest = [learner for learner in group.learners if learner not in gone]
            if rest:
                group.keep(rest, members(rest, group.start), start, self.module)
                start = group.stop
                groups.append(group)
        self.groups = groups
        self._arrange()
