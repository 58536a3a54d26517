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
import torch
from torch import Tensor, nn, optim

from skmm._devices import seeded
from skmm._private import tree_map
from skmm.augmentation import Batch, ModalityDropout
from skmm.estimators._base import MultimodalEstimator
from skmm.inputs._columns import DenseColumn, take_rows
from skmm.layers import existing, unsupported
from skmm.model_selection._search_networks import Rows, Together, join_batches, joinable
from skmm.network._members import faster_one_by_one, picture_modalities
from skmm.network._network import FusionNetwork
from skmm.training._losses import HeadsLoss
from skmm.training._net import MultimodalNet, TrainingSet
from skmm.training._plan import TrainingPlan

# Optimizers that treat every number for itself: those of others may be changed by what they are stacked with.
_ELEMENTWISE = frozenset(
    {
        *(optim.Adadelta, optim.Adagrad, optim.Adam, optim.Adamax, optim.AdamW, optim.ASGD, optim.NAdam),
        *(optim.RAdam, optim.RMSprop, optim.Rprop, optim.SGD),
    }
)
# What a subclass of the user's may have changed.
_STEPS = ("fit", "_fit", "_prepare", "_build", "_load_training", "_train", "_complete")


@dataclass(eq=False)
class Learner:
    """An estimator whose network is built, but not trained.

    Parameters
    ----------
    estimator : MultimodalEstimator
        The estimator, prepared by ``_prepare`` and ``_build``.
    plan : TrainingPlan
        Its samples and what each is for.
    training, validation : TrainingSet
        The rows that train it, and those that stop its training early, if any.
    candidate : int
        Learners of the same number share all hyperparameters.
    """

    estimator: MultimodalEstimator
    plan: TrainingPlan
    training: TrainingSet
    validation: TrainingSet | None
    candidate: int
    n_epochs: int = 0
    finished: bool = False
    error: ValueError | None = None

    @property
    def net(self) -> MultimodalNet:
        return self.estimator.net_

    @property
    def n_members(self) -> int:
        return self.net.module_.n_members

    @property
    def n_batches(self) -> int:
        return math.ceil(len(self.training) / self.net.batch_size)

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
    if estimator.callbacks:
        return "it has callbacks of its own"
    for step in _STEPS:
        if not getattr(type(estimator), step).__module__.startswith("skmm."):
            return f"{type(estimator).__name__} has a {step} of its own"
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


def slower_together(learner: Learner) -> str:
    """Why a learner and others of its shape are faster trained one after another, or nothing."""
    for name in picture_modalities(learner.network()):
        n_numbers = learner.net.batch_size * math.prod(learner.estimator.inputs_.infos[name].shape)
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


def _twin(net: MultimodalNet) -> MultimodalNet:
    """A net with the same attributes; skorch's own copy would pickle them."""
    twin = object.__new__(type(net))
    twin.__dict__.update(net.__dict__)
    return twin


class _Luck:
    """Random numbers of a learner's own, so that what it draws does not depend on what it is trained with."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        with seeded(seed, device):
            self.state = self._now()

    def _now(self) -> tuple[Tensor, ...]:
        on_gpu = self.device.type == "cuda"
        return torch.get_rng_state(), *((torch.cuda.get_rng_state(self.device),) if on_gpu else ())

    def _set(self, state: tuple[Tensor, ...]) -> None:
        torch.set_rng_state(state[0])
        for other in state[1:]:
            torch.cuda.set_rng_state(other, self.device)

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Let torch draw these numbers, from where it stopped."""
        before = self._now()
        self._set(self.state)
        try:
            yield
        finally:
            self.state = self._now()
            self._set(before)


class _Part(nn.Module):
    """Some rows of the tables of weights that decay and of the rest: what an optimizer is built for."""

    def __init__(self, tables: list[nn.Parameter]) -> None:
        super().__init__()
        self.tables = nn.ParameterList(tables)

    def decayed(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        weights, rest = self.tables
        return [weights], [rest]

    def lr_factors(self) -> dict[nn.Parameter, float]:
        return dict.fromkeys(self.tables, 1.0)


class _Group:
    """Learners of one pace: consecutive members that one optimizer steps."""

    def __init__(self, learners: list[Learner], start: int, module: Together) -> None:
        self.learners = learners
        self.n_batches = learners[0].n_batches
        self.net = _twin(learners[0].net)
        self.tables = [nn.Parameter(table) for table in module.tables]
        self.place(start, module)
        self.net.module_ = _Part(self.tables)
        self.net.initialize_optimizer()
        self.net.set_horizon(len(learners[0].training))

    def place(self, start: int, module: Together) -> None:
        """Read and write the rows from ``start`` on."""
        self.start, self.stop = start, start + sum(learner.n_members for learner in self.learners)
        for own, table, gradient in zip(self.tables, module.tables, module.gradients, strict=True):
            own.data, own.grad = table[self.start : self.stop], None
            own.grad = gradient[self.start : self.stop]

    def keep(self, learners: list[Learner], members: Tensor, start: int, module: Together) -> None:
        """Go on with some of the learners, whose members these were among the group's."""
        for own in self.tables:
            state = self.net.optimizer_.state[own]
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == own.shape:
                    state[key] = value[members]
        self.learners = learners
        self.place(start, module)

    def step(self) -> None:
        net = self.net
        if net.schedule != "constant":
            lr = net.base_lr_ * net.schedule_factor_(min(1.0, net.step_ / (net.total_steps_ or 1)))
            for group in net.optimizer_.param_groups:
                group["lr"] = lr * group["lr_factor"]
            net.step_ += 1
        net.optimizer_.step()


class Lockstep:
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
        self.epoch = 0
        self.orders = {x: [torch.Generator().manual_seed(s) for s in x.net.seeds] for x in self.learners}
        first = self.learners[0]
        self.device = first.training.data.device
        # dropout of a member does not depend on what it is stacked with
        self.noise = {x: [torch.Generator(self.device).manual_seed(s) for s in x.net.seeds] for x in self.learners}
        self.luck = {x: _Luck(x.net.seeds[0], self.device) for x in self.learners}
        self.batch_size = first.net.batch_size
        modules = [learner.net.module_ for learner in self.learners]
        self.module = Together(modules, first.network())
        sets = list({id(x.training.data): x.training for x in self.learners}.values())
        self.data = sets[0].data if len(sets) == 1 else join_batches([s.data for s in sets])
        self.target = torch.cat([s.target for s in sets])
        before = torch.tensor([0, *(len(s.data) for s in sets)]).cumsum(0).tolist()
        self.first_row = {id(s.data): n for s, n in zip(sets, before, strict=False)}
        self.groups: list[_Group] = []
        start = 0
        for together in paces.values():
            self.groups.append(_Group(together, start, self.module))
            start = self.groups[-1].stop
        self.validates = first.validation is not None
        self.best = torch.full((start,), math.inf)
        self.waited = torch.zeros(start, dtype=torch.int64)
        self.best_state = [table.clone() for table in self.module.tables] if self.validates else []
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
        if self.validates:
            # as many at a time as training has in activations, which these need not keep
            size = max(self.batch_size, 128)
            self.validation = self._rows([x.validation for x in learners if x.validation is not None], size)
        rates = [[m.p for m in x.network().modules() if type(m) is nn.Dropout] for x in learners]
        for layer, each in zip(self.module.dropouts, zip(*rates, strict=True), strict=True):
            layer.set_rates(self._per_member(list(each)))
        estimators = [learner.estimator for learner in learners]
        weight = self._per_member([e.modality_loss for e in estimators])
        self.heads = bool(weight.any())
        loss: Any = HeadsLoss(estimators[0]._loss_per_sample())
        loss.modality_loss = weight.unsqueeze(1)
        self.criterion = loss
        limits = [e.clip_grad_norm for e in estimators]
        self.largest = None
        if any(limits):
            self.largest = self._per_member([math.inf if limit is None else limit for limit in limits])
        self.patience = self._per_member([e.n_iter_no_change for e in estimators], torch.int64).cpu()
        self.tol = self._per_member([e.tol for e in estimators]).cpu()

    def _rows(self, sets: list[TrainingSet], size: int) -> Rows:
        return Rows(sets, [self.first_row[id(s.data)] for s in sets], size, self.device)

    # -- training ------------------------------------------------------------------------------------------------

    def run(self, until: int | None = None) -> None:
        """Train until all have finished, or until so many epochs were done."""
        while self.learners and (until is None or self.epoch < until):
            train = self._train()
            valid = self._validate() if self.validates else None
            self.epoch += 1
            for learner in self.learners:
                self._note(learner, train, valid)
            if valid is not None:
                self._compare(valid)
            for learner in self.learners:
                a, b = self.bounds[learner]
                stopped = self.validates and bool((self.waited[a:b] >= self.patience[a:b]).all())
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
                self._clip(self.largest)
            for group in self.groups:
                if step < group.n_batches:
                    group.step()
            losses.append(loss.detach())
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
            with self.luck[learner].drawing():
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
        there = existing(batch.present, 2) if self.heads else None
        pairs = ((batch.target, batch.weights), *batch.others)
        return sum((self.criterion(output, *pair, there) for pair in pairs), output.new_zeros(()))

    def _clip(self, largest: Tensor) -> None:
        """Scale each member's gradient down to its largest norm."""
        norm = torch.stack([table.square().sum(1) for table in self.module.gradients]).sum(0).sqrt()
        for table in self.module.gradients:
            table.mul_((largest / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1))

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
            bad = ~torch.isfinite(own)
            if bad.any() and learner.error is None:
                learner.error = ValueError(
                    f"the {prefix} loss became {own[bad][0].item()} in epoch {learner.n_epochs} with "
                    f"lr={net.base_lr_}. Try a lower lr, clip_grad_norm=1.0, scale_inputs=True, or check the "
                    "values of the inputs and the target."
                )
            net.history.record(f"{prefix}_loss", own.mean().item())

    def _compare(self, loss: Tensor) -> None:
        """Remember the weights of each member at its lowest validation loss."""
        active = self.waited < self.patience
        better = active & (loss < self.best - self.tol)
        self.best = torch.where(better, loss, self.best)
        self.waited = torch.where(better, 0, self.waited + active.long())
        chosen = better.to(self.device)
        for kept, table in zip(self.best_state, self.module.tables, strict=True):
            kept[chosen] = table[chosen]

    def hand_back(self, learner: Learner) -> None:
        """Give a learner its own weights, those of its best epoch if it is stopped early."""
        a, b = self.bounds[learner]
        module = learner.net.module_
        source = self.module.views(self.best_state or self.module.tables)
        with torch.no_grad():
            for own, stacked in zip(module.parameters(), source, strict=True):
                own.copy_(stacked[a] if module.n_members == 1 else stacked[a:b])
        learner.net.copies_ = {}
        learner.estimator._keep_history()

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
        self.best, self.waited = self.best[kept.cpu()], self.waited[kept.cpu()]
        self.best_state = [x[kept] for x in self.best_state]
        groups, start = [], 0
        for group in self.groups:
            rest = [learner for learner in group.learners if learner not in gone]
            if rest:
                group.keep(rest, members(rest, group.start), start, self.module)
                start = group.stop
                groups.append(group)
        self.groups = groups
        self._arrange()
