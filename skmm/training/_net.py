"""The skorch net: its training loop, and its predictions.

Everything here works along a leading member axis: K networks train at once, each on rows of its own. With one
member the axis is dropped.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_scalar
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, PrintLog
from torch import Tensor, nn

from skmm._devices import computing
from skmm._private import tree_map
from skmm._progress import progress, write_line
from skmm._ranks import ALONE, current
from skmm._warnings import warn
from skmm.augmentation import Augmentation, Batch
from skmm.inputs._batches import Batches
from skmm.layers import existing
from skmm.network._members import MemberNetworks, Method
from skmm.spec import Optimizer
from skmm.training._budget import Rounds, TimeLimit
from skmm.training._callbacks import EarlyStopping, EpochTasks, StepBar
from skmm.training._checkpoint import Checkpoint
from skmm.training._interrupts import EndOfTraining, noting_ctrl_c
from skmm.training._optimizers import base_lr, make_optimizer, set_lr
from skmm.training._sets import BatchIterator, TrainingSet, order_generator
from skmm.training._steps import add_gradients, batch_loss, clip_gradients, divergence
from skmm.training._tasks import FitTasks

# Name -> type of automatic mixed precision.
PRECISIONS: dict[str, torch.dtype | None] = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


# parameters of a net beside its networks and their loss
OF_NET = (
    "optimizer_spec",
    "lr",
    "weight_decay",
    "schedule",
    "clip_grad_norm",
    "seeds",
    "augment",
    "precision",
    "compiled",
    "speakers",
    "batch_size",
    "max_epochs",
    "callbacks",
    "device",
    "verbose",
)


class MultimodalNet(NeuralNet):
    """skorch's training loop over :class:`MemberNetworks`, on batches cut from resident tensors.

    Parameters beside skorch's
    --------------------------
    optimizer_spec : Optimizer
        Optimizer by name.
    weight_decay : float
        Weight decay, on weights only.
    schedule : str
        Name of the learning-rate schedule.
    clip_grad_norm : float or None
        Largest norm of each member's gradient.
    seeds : tuple of int
        Seed of each member's batch order.
    augment : tuple of callables
        What is done to the values and masks of each training batch.
    precision : str
        Arithmetic in training, of ``PRECISIONS``.
    compiled : bool
        Whether to compile the network for training; there is one member then.
    speakers : list of int or None
        The members that predict; None for all.
    """

    def __init__(
        self,
        module: MemberNetworks,
        criterion: nn.Module,
        *,
        optimizer_spec: Optimizer,
        weight_decay: float = 0.0,
        schedule: str = "constant",
        clip_grad_norm: float | None = None,
        seeds: tuple[int, ...] = (0,),
        augment: tuple[Augmentation, ...] = (),
        precision: str = "32",
        compiled: bool = False,
        speakers: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion=criterion, **kwargs)
        self.optimizer_spec = optimizer_spec
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.clip_grad_norm = clip_grad_norm
        self.seeds = seeds
        self.augment = augment
        self.precision = precision
        self.compiled = compiled
        self.speakers = list(range(len(seeds))) if speakers is None else speakers
        self.streamed_ = False  # whether partial_fit trained it
        self.n_parts_: int | None = None  # how many parts it was told of
        self.orders_: list[torch.Generator] = []  # while it trains, what each member's batches are ordered by
        self.made_of_: dict[str, Any] = {}  # the arguments of each of its networks
        self.members_: list[int] | None = None  # which of the estimator's these are, if another rank has others

    # skorch's own callbacks read the loss of every batch; here it is read once an epoch
    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [("epoch_timer", EpochTimer()), ("print_log", PrintLog(sink=write_line))]

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        return self._default_callbacks if self.verbose > 1 else self._default_callbacks[:1]

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> MultimodalNet:
        """Build the optimizer from its spec, with weight decay on the weights alone."""
        weights, rest = self.module_.decayed()
        self.base_lr_ = base_lr(self.optimizer_spec, self.lr)
        self.optimizer_: Any = make_optimizer(
            self.optimizer_spec,
            weights,
            rest,
            lr=self.base_lr_,
            weight_decay=self.weight_decay,
            lr_factors=self.module_.lr_factors(),
        )
        self.total_steps_: int | None = None
        self.member_losses_: dict[str, Tensor] = {}
        # float16 loses small gradients, unless the loss is scaled up; otherwise this does nothing
        # (from torch's own first scale, 65536, products of modalities overflow, and the first steps are left out)
        kind = torch.device(self.device).type
        self.scaler_ = torch.amp.GradScaler(kind, init_scale=256.0, enabled=self.precision == "16")
        self.__dict__.pop("compiled_network", None)
        self.ctrl_c_: list[int] = []
        self.interrupted_ = False
        return self

    def n_batches(self, dataset: TrainingSet) -> int:
        """Steps of an epoch over this training set."""
        return math.ceil(len(dataset) / self.batch_size)

    def start_schedule(self, n_batches: int, epochs: int) -> None:
        """Start the schedule over, for so many epochs of so many steps."""
        self.n_batches_, self.total_steps_ = n_batches, epochs * n_batches
        self.step_ = 0

    def train(
        self,
        training: TrainingSet,
        validation: TrainingSet | None,
        epochs: int | None = None,
        *,
        patience: int = 10,
        tol: float = 0.0,
        rounds: Rounds | None = None,
        limit: TimeLimit | None = None,
        checkpoint: Checkpoint | None = None,
        tasks: FitTasks | None = None,
    ) -> None:
        """Train for so many epochs more, or from the start of the schedule to its end.

        With a validation set each member's weights are in the end those of its lowest loss, and training ends when
        none has improved by ``tol`` in ``patience`` epochs. ``rounds`` may go on for longer, and ``limit`` end it
        before. What ``checkpoint`` finds on disk is not trained again. ``tasks`` are
        told of each epoch.

        Raises
        ------
        KeyboardInterrupt
            At Ctrl-C before an epoch has ended. After that there is a warning, and ``interrupted_`` says so.
        """
        early = None if validation is None else EarlyStopping(patience, tol)
        # the limit before the rounds: where an epoch ends both, there is no time for what the rounds would measure
        ending: list[Any] = [x for x in (early, limit, rounds) if x is not None]
        streamed = epochs is not None
        planned = self.max_epochs if epochs is None else epochs
        if streamed:
            self.streamed_ = True
        else:
            self.start_schedule(self.n_batches(training), planned)
        epochs = planned if rounds is None else rounds.most
        if (rank := current().rank) > 0:
            torch.manual_seed(torch.initial_seed() + rank)  # dropout of its rows has nothing to do with the others'
        before = len(self.history)
        found = 0 if checkpoint is None else checkpoint.find()
        with contextlib.ExitStack() as around:
            if tasks is not None:
                task = around.enter_context(tasks.task("training", None if rounds else epochs - found))
                ending = [*([EpochTasks(tasks, task)] if tasks.heard else []), *ending]
            # the checkpoint after them: what it writes is all that the others have done
            own = [*ending, *([] if checkpoint is None else [checkpoint])]
            of_members = f" {self.module_.n_members} members" if self.module_.n_members > 1 else ""
            bar = around.enter_context(progress(f"training{of_members}", planned * self.n_batches(training)))
            if bar.shown:
                own.append(StepBar(bar, planned if streamed else None))
            self._partial_fit(training, validation, epochs - found, own)
        while len(self.history) and "train_loss" not in self.history[-1]:
            self.history.pop()  # an epoch that was interrupted
        if (error := self.diverged()) is not None:
            raise error
        done = len(self.history) - before
        if self.interrupted_ and not done:
            raise KeyboardInterrupt("training was interrupted before its first epoch had ended")
        if done < epochs and not any(x.stopped for x in ending):
            warn(f"training was interrupted after {done} of {epochs} epochs; what was learned is kept.")

    def diverged(self) -> ValueError | None:
        """The error that weights are no numbers any more, or nothing; no loss tells it of the last step."""
        largest = [p.detach().abs().max().cpu() for p in self.module_.parameters() if p.requires_grad and p.numel()]
        return divergence("weights", torch.stack(largest), len(self.history), self.base_lr_) if largest else None

    def expect_parts(self, training: TrainingSet, n_parts: int | None) -> None:
        """Spread the schedule over all parts of a stream, from the first on, where their number is known."""
        if n_parts is not None and n_parts != self.n_parts_:
            check_scalar(n_parts, "n_parts", Integral, min_val=1)
            if len(self.history):
                raise ValueError(f"n_parts={n_parts} is not that of the first call, {self.n_parts_}.")
            self.n_parts_ = n_parts
            self.start_schedule(self.n_batches(training), n_parts)
        elif self.n_parts_ is not None and self.total_steps_ and self.step_ >= self.total_steps_:
            warn(
                f"this part comes after the last of n_parts={self.n_parts_}: the learning rate is at the end of "
                f"its schedule ({self.schedule}). Give the number of all calls of partial_fit, or lr_schedule=None."
            )

    def _partial_fit(
        self, training: TrainingSet, validation: TrainingSet | None, epochs: int, callbacks: list[Any]
    ) -> None:
        """skorch's, with more callbacks while it lasts."""
        self.callbacks_ += [(type(callback).__name__, callback) for callback in callbacks]
        try:
            self.partial_fit((training, validation), epochs=epochs)
        finally:
            del self.callbacks_[len(self.callbacks_) - len(callbacks) :]
            self.orders_ = []

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """``X`` is the pair of training and validation set, split before."""
        return X

    def check_data(self, X: Any, y: Any = None) -> None:
        """Data were checked by the estimator."""

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """skorch's, but that a callback which ends training is told from Ctrl-C."""
        try:
            super().notify(method_name, **cb_kwargs)
        except EndOfTraining:
            raise
        except KeyboardInterrupt as error:
            if self.ctrl_c_:
                raise
            raise EndOfTraining from error

    def fit_loop(self, *args: Any, **kwargs: Any) -> MultimodalNet:
        """skorch's, which ends without a word at Ctrl-C; ``interrupted_`` says then that there was one."""
        self.interrupted_ = False
        try:
            with noting_ctrl_c() as self.ctrl_c_:
                super().fit_loop(*args, **kwargs)
        except EndOfTraining:
            raise
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise
        finally:
            # Python drops what a signal raises inside a finalizer, but it was noted
            self.interrupted_ = self.interrupted_ or bool(self.ctrl_c_)
            self.ctrl_c_ = []
        return self

    def undo(self) -> Callable[[], None]:
        """What brings the net back to how it is now, its weights and its optimizer included."""
        attributes, n_epochs = dict(vars(self)), len(self.history)
        tensors = [*self.module_.parameters(), *self.module_.buffers()]
        values, trained = [x.detach().clone() for x in tensors], [x.requires_grad for x in tensors]
        stepped = self.optimizer_  # None in an unpickled net, which would begin anew
        optimizer = None if stepped is None else copy.deepcopy(stepped.state_dict())
        scaler = self.scaler_.state_dict()

        def restore() -> None:
            self.__dict__.update(attributes)
            del self.history[n_epochs:]
            with torch.no_grad():
                for x, value, required in zip(tensors, values, trained, strict=True):
                    x.copy_(value).requires_grad_(required)
            if stepped is not None:
                stepped.load_state_dict(optimizer)
            self.scaler_.load_state_dict(scaler)
            self.copies_.clear()

        return restore

    def get_iterator(self, dataset: TrainingSet, training: bool = False) -> Any:
        if not training:
            return BatchIterator(dataset, self._most(dataset.data), None, self.module_.width)
        return BatchIterator(dataset, self.batch_size, self._new_orders(), self.module_.width)

    def _new_orders(self) -> list[torch.Generator]:
        self.orders_ = [order_generator(seed, len(self.history)) for seed in self.seeds]
        return self.orders_

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        super().on_epoch_begin(net, **kwargs)
        self.module_.thaw(len(self.history))

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        super().on_batch_begin(net, batch=batch, training=training, **kwargs)
        if training and self.total_steps_:
            set_lr(self.optimizer_, self.base_lr_, self.schedule, self.step_, self.total_steps_)
            self.step_ += 1

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """skorch's step, but for how gradients are cleared: that method of torch costs as much as a small layer."""
        parameters = [p for group in self.optimizer_.param_groups for p in group["params"]]
        step: dict[str, Any] = {}

        def closure() -> Tensor:
            for p in parameters:
                p.grad = None
            step.update(self.train_step_single(batch, **fit_params))
            named = self.module_.named_parameters()
            self.notify("on_grad_computed", named_parameters=named, batch=batch, training=True)
            return step["loss"]

        if self.scaler_.is_enabled():
            closure()
            self.scaler_.step(self.optimizer_)
            self.scaler_.update()
        else:
            self.optimizer_.step(closure)
        return step

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        changed = self._named(batch)
        for change in self.augment:
            changed = change(changed)
        loss, output = self._loss(changed)
        own, of_all = batch.counted
        if divided := current().rows.world_size > 1:  # of a batch's mean this rank's part
            loss = loss * (own / of_all)
        total = loss if loss.ndim == 0 else loss.sum()
        if self.scaler_.is_enabled():
            self.scaler_.scale(total).backward()
        else:
            total.backward()
        loss = loss.detach()
        if divided:
            parameters = [p for p in self.module_.parameters() if p.requires_grad]
            loss = add_gradients(parameters, loss.reshape(-1)).view_as(loss)
        if self.scaler_.is_enabled():
            self.scaler_.unscale_(self.optimizer_)
        if self.clip_grad_norm is not None:
            if self.module_.n_members == 1:
                nn.utils.clip_grad_norm_(self.module_.parameters(), self.clip_grad_norm)
            else:
                gradients = [p.grad for p in self.module_.parameters() if p.grad is not None]
                clip_gradients(gradients, self.clip_grad_norm)
        return {"loss": loss, "y_pred": output}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        with torch.no_grad():
            loss, output = self._loss(self._named(batch))
        return {"loss": loss, "y_pred": output}

    def _named(self, batch: Any) -> Batch:
        """What the iterator gives, as augmentations take it, the samples behind the members if several."""
        values, present = batch.samples
        return Batch(values, present, batch.target, batch.weights, batch.axes)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.arithmetic():
            if self.compiled:
                output = self.compiled_network(batch.values, batch.present)
            else:
                output = self.module_(batch.values, batch.present, own_rows=batch.axes == 2)
        if self.precision != "32":
            output = output.float()
        return batch_loss(self.criterion_, output, batch, self.module_.n_members), output

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of training."""
        dtype = PRECISIONS[self.precision]
        if dtype is None:  # one that is not enabled takes as long as a small layer
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype)

    @functools.cached_property
    def compiled_network(self) -> Any:
        """The one network, compiled; set as an attribute, skorch would take it for a second module of the net."""
        graphs = "reduce-overhead" if torch.device(self.device).type == "cuda" else None
        return torch.compile(self.module_.single, mode=graphs)

    def _most(self, data: Batches) -> int:
        """Samples that may go through the network at a time where nothing is learned from them."""
        return self.batch_size if data.lazy else max(self.batch_size, 1024)

    def run_single_epoch(self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any) -> None:
        """One pass; the losses are read once at its end, so that no batch waits for the device."""
        if iterator is None:
            return
        self._set_training(training)
        losses: list[Tensor] = []
        sizes: list[int] = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"])
            sizes.append(batch.counted[1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
        # (batches, K); of batches that are divided among ranks there may be none for this one
        of_rank = torch.stack(losses).reshape(len(losses), -1).double().cpu() if losses else torch.empty(0, 1)
        per_batch, of_batch = (of_rank, sizes) if training else _of_all_batches(of_rank, sizes)
        size = torch.tensor(of_batch, dtype=torch.float64)
        per_member = (per_batch * size.unsqueeze(1)).sum(0) / size.sum()
        if (error := divergence(f"{prefix} loss", per_member, len(self.history), self.base_lr_)) is not None:
            raise error
        self.member_losses_[prefix] = per_member
        of_all = self.history[-1]["batches"]
        entries = of_all[len(of_all) - len(sizes) :]
        for entry, loss, n in zip(entries, of_rank.mean(1).tolist(), sizes, strict=True):
            entry[f"{prefix}_loss"], entry[f"{prefix}_batch_size"] = loss, n
        if entries and len(per_member) > 1:  # among batches: loggers take what stands beside the epoch for numbers
            entries[-1][f"{prefix}_losses"] = per_member.tolist()
        mean = per_member.mean().item()
        self.history.record(f"{prefix}_loss", mean)
        self.history.record(f"{prefix}_loss_best", all(mean < row[f"{prefix}_loss"] for row in self.history[:-1]))
        self.history.record(f"{prefix}_batch_count", len(sizes))

    # -- prediction ----------------------------------------------------------------------------------------------

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        super().on_train_begin(net, X=X, y=y, **kwargs)
        if self.optimizer_ is None:  # unpickled without: begin anew, where the schedule is
            horizon = self.total_steps_
            self.initialize_optimizer()
            self.total_steps_ = horizon
        self.copies_: dict[
            torch.dtype, tuple[Any, Any]
        ] = {}  # what the weights were, and these in another precision

    def batches(
        self,
        data: Batches,
        dtype: torch.dtype,
        method: Method = "forward",
        rows: np.ndarray | None = None,
        *,
        whole: bool = False,
        shared: bool = False,
        members: list[int] | None = None,
    ) -> Iterator[tuple[np.ndarray, Any, Tensor]]:
        """Outputs for the rows, or for all samples, without gradient, some of them at a time.

        What is ``shared`` each rank gives a share of. Of several members all answer, or these.

        Yields
        ------
        positions : ndarray of int
            Which of the rows these are; ``whole`` has all in one.
        outputs : Tensor of shape (n, ...) or for several members (K, n, ...), or several in dicts and tuples
        exists : Tensor of bool, shape (n, M)
            Which modalities each has.
        """
        computing()
        module = self.ready(dtype)
        chosen = torch.arange(len(data)) if rows is None else torch.from_numpy(rows)
        n = len(chosen)
        ranks = current().rows if shared else ALONE
        most = -(-self._most(data) // ranks.world_size)
        parts = ranks.mine([torch.arange(n)] if whole else data.parts(chosen, most, self.module_.width))
        cuts = data.stream([chosen[part].to(data.device) for part in parts])
        with progress("predicting", sum(map(len, parts)), "sample", after=1.0) as bar:
            for part, (values, present) in zip(parts, cuts, strict=True):
                with torch.inference_mode():
                    outputs = module(values, present, method=method, members=members)
                    exists = existing(present)
                yield part.numpy(), outputs, exists
                bar.advance(len(part))

    def outputs(
        self, data: Batches, dtype: torch.dtype, method: Method = "forward", *, whole: bool = False
    ) -> tuple[Any, Tensor]:
        """What :meth:`batches` gives, of all samples in their order."""
        positions, parts, exists = zip(*self.batches(data, dtype, method, whole=whole), strict=True)
        if len(parts) == 1:
            return parts[0], exists[0]
        axis = 0 if self.module_.n_members == 1 else 1
        order = torch.from_numpy(np.argsort(np.concatenate(positions))).to(data.device)
        joined = tree_map(lambda *each: torch.cat(each, axis).index_select(axis, order), *parts)
        return joined, torch.cat(exists)[order]

    def ready(self, dtype: torch.dtype) -> nn.Module:
        """The network as it predicts; nothing is changed in it that another thread would see."""
        module = self.module_
        if dtype == torch.float64:
            # a copy in double precision, made once; results then do not depend on how rows are batched
            module.check_order()
            tensors = (*module.parameters(), *module.buffers())
            state = [(id(x), 0 if x.is_inference() else x._version) for x in tensors]  # who changes weights is seen
            held = self.copies_.get(dtype)
            if held is None or held[0] != state:
                held = self.copies_[dtype] = state, copy.deepcopy(module).to(dtype)
            module = held[1]
        if module.training:  # a walk over all layers, which costs a tenth of one row's prediction
            module.eval()
        return module

    def __getstate__(self) -> dict[str, Any]:
        light = object.__new__(type(self))
        # what skorch was given and what it made of it are the same; the rest is made again when needed
        light.__dict__.update(vars(self), module=None, criterion=None, copies_={})
        light.__dict__.pop("compiled_network", None)
        return super(MultimodalNet, light).__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.module, self.criterion = self.module_, self.criterion_

    def with_networks(self, networks: list[Any], made_of: dict[str, Any], **changed: Any) -> MultimodalNet:
        """A net like this, of other networks, with this one's history and a new optimizer."""
        params = {name: getattr(self, name) for name in OF_NET} | changed
        net = type(self)(MemberNetworks(networks), self.criterion_, train_split=None, **params).initialize()
        net.history_, net.made_of_, net.copies_ = copy.copy(self.history_), made_of, {}
        return net

    def snapshot(self) -> MultimodalNet:
        """The net as it predicts now, which training does not change any more."""
        now = self.without_training_state()
        module, history = copy.deepcopy(self.module_), copy.copy(self.history_)
        now.__dict__.update(module=module, module_=module, history_=history, callbacks_=[], copies_={})
        return now

    def without_training_state(self) -> MultimodalNet:
        """The same net without its optimizer, which takes twice as much as the weights, for a pickle."""
        light = object.__new__(type(self))
        light.__dict__.update(vars(self), optimizer_=None)
        return light


def _of_all_batches(losses: Tensor, sizes: list[int]) -> tuple[Tensor, list[int]]:
    """Losses (batches, K) and sizes of all batches, of which each rank has had every so many-th."""
    ranks = current().rows
    told = ranks.gather((losses, sizes))
    n = sum(len(own) for _, own in told)
    each: list[Any] = [(told[i % len(told)], i // len(told)) for i in range(n)]
    return torch.stack([own[0][place] for own, place in each]), [own[1][place] for own, place in each]
