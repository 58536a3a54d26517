"""Training: the skorch net, batch iterator, losses, schedules, devices. The only module that knows skorch.

Everything here works along a leading member axis: K networks train at once, each on rows of its own. With one
member the axis is dropped.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import math
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, PrintLog
from torch import Tensor, nn

from skmm._devices import computing
from skmm._private import tree_map
from skmm.augmentation import Augmentation, Batch
from skmm.inputs._batches import Batches
from skmm.inputs._columns import Width, take_rows
from skmm.layers import existing
from skmm.network._members import MemberNetworks
from skmm.spec import Optimizer

# -- learning-rate schedules: share of training done -> factor on the learning rate -------------------------------


def _constant(done: float) -> float:
    return 1.0


def _linear(done: float) -> float:
    return 1.0 - done


def _cosine(done: float) -> float:
    warm_up = 0.05
    if done < warm_up:
        return (done + 1e-3) / (warm_up + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (done - warm_up) / (1.0 - warm_up)))


def _step(done: float) -> float:
    return 0.1 ** int(3 * done)


def _exponential(done: float) -> float:
    return 0.01**done


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "step": _step,
    "exponential": _exponential,
}

# Learning rate where the user says "auto": a step of plain SGD is proportional to the gradient, of the others not.
_AUTO_LR = {"sgd": 0.05, "asgd": 0.05, "lbfgs": 1.0, "adadelta": 1.0, "adagrad": 0.03}
_AUTO_LR_ELSE = 3e-3


def auto_batch_size(n_samples: int) -> int:
    """32 below 2,500 samples, 64 below 5,000, else 128."""
    return 32 if n_samples < 2500 else 64 if n_samples < 5000 else 128


def auto_epochs(n_samples: int, batch_size: int) -> int:
    """Enough for 800 steps, but at least 5 epochs and at most 100."""
    return min(100, max(5, math.ceil(800 / math.ceil(n_samples / batch_size))))


# -- how training ends before its last epoch ----------------------------------------------------------------------


class EndOfTraining(KeyboardInterrupt):
    """How a callback ends training: skorch takes a KeyboardInterrupt for that, so Ctrl-C must be told from it."""


@contextlib.contextmanager
def noting_ctrl_c() -> Iterator[list[int]]:
    """Note in the list that is given whether Ctrl-C was pressed in the block; it raises as it always does.

    Only the main thread is ever interrupted. A handler of the user's own is left alone.
    """
    noted: list[int] = []

    def handler(number: int, frame: Any) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    watched = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if watched:
        signal.signal(signal.SIGINT, handler)
    try:
        yield noted
    finally:
        if watched and signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)


# -- data ---------------------------------------------------------------------------------------------------------


class TrainingSet:
    """Samples, targets and the rows of each member.

    Parameters
    ----------
    data : Batches
        Every sample, once for all members.
    target : Tensor of shape (n_samples, ...)
        Encoded targets.
    weights : Tensor of shape (K, n_rows) or None
        Weight of each of a member's rows, of mean 1.
    rows : Tensor of shape (K, n_rows) or (1, n_rows)
        Each member's rows, or those of all, from which the weights of a member may leave some out: so a sample that
        is read lazily is read once for all members.
    """

    def __init__(self, data: Batches, target: Tensor, weights: Tensor | None, rows: Tensor) -> None:
        self.data, self.target, self.weights, self.rows = data, target, weights, rows

    def __len__(self) -> int:
        return self.rows.shape[1]


class _BatchIterator:
    """Cuts batches by row numbers, in an order of its own for each member, or in one where they share their rows.

    Gives (values, masks), targets, weights, and the number of axes before those of a sample: 2 for batches of each
    member's own, else 1. Without generators the batches are cut by what they hold in a network of some ``width``.
    """

    def __init__(
        self, dataset: TrainingSet, batch_size: int, generators: list[torch.Generator] | None, width: Width
    ) -> None:
        self.dataset, self.batch_size, self.generators, self.width = dataset, batch_size, generators, width

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        d = self.dataset
        rows, weights = d.rows, d.weights
        if self.generators is not None:
            n = rows.shape[1]
            orders = [torch.randperm(n, generator=g) for g in self.generators[: len(rows)]]
            order = torch.stack(orders).to(rows.device)
            rows = rows.gather(1, order)
            weights = None if weights is None else weights.gather(1, order.expand(len(weights), -1))
        if len(rows) == 1:
            rows = rows[0]
        if weights is not None and len(weights) == 1:
            weights = weights[0]
        if self.generators is None:
            positions = [p.to(rows.device) for p in d.data.parts(rows, self.batch_size, self.width)]
            parts: Any = [rows[..., p] for p in positions]
            weight_parts: Any = [None if weights is None else weights[..., p] for p in positions]
        else:
            parts = rows.split(self.batch_size, -1)
            weight_parts = [None] * len(parts) if weights is None else weights.split(self.batch_size, -1)
        for batch, weight, cut in zip(parts, weight_parts, d.data.stream(parts), strict=True):
            yield cut, take_rows(d.target, batch), weight, batch.ndim


# -- callbacks ----------------------------------------------------------------------------------------------------


class _BestWeights(Callback):
    """Keeps each member's weights at its lowest validation loss, in memory; stops when none has improved."""

    def __init__(self, patience: int, tol: float) -> None:
        self.patience, self.tol = patience, tol

    def on_train_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        k = net.module_.n_members
        self.best_ = torch.full((k,), math.inf)
        self.waited_ = torch.zeros(k, dtype=torch.int64)
        self.state_: dict[str, Tensor] = {}

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        loss = net.member_losses_["valid"]
        active = self.waited_ < self.patience
        better = active & (loss < self.best_ - self.tol)
        if bool(better.any()):
            kept = {key: value.clone() for key, value in net.module_.state_dict().items()}
            if net.module_.n_members > 1 and self.state_:
                for key, value in kept.items():
                    value[~better] = self.state_[key][~better]
            self.state_ = kept  # at once, so that Ctrl-C never leaves layers of two epochs
        self.best_ = torch.where(better, loss, self.best_)
        self.waited_ = torch.where(better, 0, self.waited_ + active.long())
        if self.stopped:
            raise EndOfTraining

    def on_train_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        if self.state_:
            net.module_.load_state_dict(self.state_)
        self.state_ = {}

    @property
    def stopped(self) -> bool:
        """Whether this callback ended training."""
        return not bool((self.waited_ < self.patience).any())


class _EpochBar(Callback):
    """Progress bar over epochs."""

    def on_train_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", leave=False)

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.bar_.set_postfix(loss=f"{net.history[-1, 'train_loss']:.4f}", refresh=False)
        self.bar_.update()

    def on_train_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_  # holds a lock, which does not pickle


# -- the net ------------------------------------------------------------------------------------------------------


# Name -> type of automatic mixed precision.
PRECISIONS: dict[str, torch.dtype | None] = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


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
        self.streamed_ = False  # whether partial_fit trained it

    # skorch's own callbacks read the loss of every batch; here it is read once an epoch
    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [("epoch_timer", EpochTimer()), ("print_log", PrintLog())]

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        shown = self._default_callbacks if self.verbose > 1 else self._default_callbacks[:1]
        return [*shown, *([("epoch_bar", _EpochBar())] if self.verbose == 1 else [])]

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> MultimodalNet:
        """Build the optimizer from its spec, with weight decay on the weights alone."""
        weights, rest = self.module_.decayed()
        cls, options = self.optimizer_spec.target(), self.optimizer_spec.resolve()
        lr = self.lr
        if lr == "auto":
            lr = _AUTO_LR.get(cls.__name__.lower(), _AUTO_LR_ELSE)
        takes = inspect.signature(cls).parameters
        decays = "weight_decay" in takes
        parts = [(weights, self.weight_decay), (rest, 0.0)]
        if not (decays and self.weight_decay):
            parts = [([*weights, *rest], 0.0)]
        factors = self.module_.lr_factors()
        groups: list[dict[str, Any]] = []
        for parameters, decay in parts:
            for factor in sorted({factors[p] for p in parameters}):
                group = {"params": [p for p in parameters if factors[p] == factor], "lr_factor": factor}
                groups.append({**group, "lr": lr * factor, **({"weight_decay": decay} if decays else {})})
        if "fused" in takes and options.get("fused") is None and not options.get("foreach"):
            options["fused"] = True  # one kernel for all parameters
        try:
            self.optimizer_ = cls(groups, lr=lr, **options)
        except ValueError as error:
            raise ValueError(
                f"optimizer {cls.__name__}: {str(error).rstrip('.')}; choose another, such as 'adamw'."
            ) from None
        self.base_lr_ = lr
        self.schedule_factor_ = SCHEDULES[self.schedule]
        self.total_steps_ = None
        self.member_losses_: dict[str, Tensor] = {}
        # float16 loses small gradients, unless the loss is scaled up; otherwise this does nothing
        # (from torch's own first scale, 65536, products of modalities overflow, and the first steps are left out)
        kind = torch.device(self.device).type
        self.scaler_ = torch.amp.GradScaler(kind, init_scale=256.0, enabled=self.precision == "16")
        self.faster_: list[Any] = []  # the compiled network, once there is one, hidden from skorch
        self.ctrl_c_: list[int] = []
        self.interrupted_ = False
        return self

    def set_horizon(self, n_samples: int) -> None:
        """Start the schedule over, for ``max_epochs`` epochs of this many samples."""
        self.total_steps_ = self.max_epochs * math.ceil(n_samples / self.batch_size)
        self.step_ = 0

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

    def get_iterator(self, dataset: TrainingSet, training: bool = False) -> _BatchIterator:
        if not training:
            return _BatchIterator(dataset, self._most(dataset.data), None, self.module_.width)
        # a fit that goes on draws new orders
        epochs_before = len(self.history)
        generators = [torch.Generator().manual_seed((s + 7919 * epochs_before) % 2**63) for s in self.seeds]
        return _BatchIterator(dataset, self.batch_size, generators, self.module_.width)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        super().on_epoch_begin(net, **kwargs)
        self.module_.thaw(len(self.history))

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        super().on_batch_begin(net, batch=batch, training=training, **kwargs)
        # a constant rate is left to the user's own scheduler among the callbacks
        if training and self.total_steps_ and self.schedule != "constant":
            lr = self.base_lr_ * self.schedule_factor_(min(1.0, self.step_ / self.total_steps_))
            for group in self.optimizer_.param_groups:
                group["lr"] = lr * group["lr_factor"]
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
        total = loss if loss.ndim == 0 else loss.sum()
        if self.scaler_.is_enabled():
            self.scaler_.scale(total).backward()
            self.scaler_.unscale_(self.optimizer_)
        else:
            total.backward()
        if self.clip_grad_norm is not None:
            self._clip(self.clip_grad_norm)
        return {"loss": loss.detach(), "y_pred": output}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        with torch.no_grad():
            loss, output = self._loss(self._named(batch))
        return {"loss": loss, "y_pred": output}

    def _named(self, batch: Any) -> Batch:
        """What the iterator gives, as augmentations take it, the samples behind the members if several."""
        (values, present), target, weights, axes = batch
        return Batch(values, present, target, weights, axes)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        k = self.module_.n_members
        with self.arithmetic():
            if self.compiled:
                output = self._faster()(batch.values, batch.present)
            else:
                output = self.module_(batch.values, batch.present, own_rows=batch.axes == 2)
        if self.precision != "32":
            output = output.float()
        there = existing(batch.present, batch.axes) if self.criterion_.modality_loss else None
        shared = k > 1 and batch.axes == 1  # the same samples for all members
        if shared and there is not None:
            there = there.expand(k, *there.shape)
        losses = [
            self.criterion_(output, target.expand(k, *target.shape) if shared else target, weights, there)
            for target, weights in ((batch.target, batch.weights), *batch.others)
        ]
        return functools.reduce(torch.add, losses), output

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of training."""
        dtype = PRECISIONS[self.precision]
        if dtype is None:  # one that is not enabled takes as long as a small layer
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype)

    def _faster(self) -> Any:
        """The one network, compiled."""
        if not self.faster_:
            graphs = "reduce-overhead" if torch.device(self.device).type == "cuda" else None
            self.faster_.append(torch.compile(self.module_.single, mode=graphs))
        return self.faster_[0]

    def _most(self, data: Batches) -> int:
        """Samples that may go through the network at a time where nothing is learned from them."""
        return self.batch_size if data.lazy else max(self.batch_size, 1024)

    def _clip(self, largest: float) -> None:
        """Scale each member's gradient down to the largest norm allowed."""
        gradients = [p.grad for p in self.module_.parameters() if p.grad is not None]
        k = self.module_.n_members
        if k == 1:
            nn.utils.clip_grad_norm_(self.module_.parameters(), largest)
            return
        norm = torch.stack([g.reshape(k, -1).square().sum(1) for g in gradients]).sum(0).sqrt()
        factor = (largest / (norm + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(factor.view(k, *[1] * (g.ndim - 1)))

    def run_single_epoch(self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any) -> None:
        """One pass; the losses are read once at its end, so that no batch waits for the device."""
        if iterator is None:
            return
        self._set_training(training)
        losses, sizes = [], []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"])
            sizes.append(batch[1].shape[batch[3] - 1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
        per_batch = torch.stack(losses).reshape(len(losses), -1).double().cpu()  # (batches, K)
        size = torch.tensor(sizes, dtype=torch.float64)
        per_member = (per_batch * size.unsqueeze(1)).sum(0) / size.sum()
        if not torch.isfinite(per_member).all():
            epoch = len(self.history)
            raise ValueError(
                f"the {prefix} loss became {per_member[~torch.isfinite(per_member)][0].item()} in epoch {epoch} "
                f"with lr={self.base_lr_}. Try a lower lr, clip_grad_norm=1.0, scale_inputs=True, or check the "
                "values of the inputs and the target."
            )
        self.member_losses_[prefix] = per_member
        for entry, loss, n in zip(
            self.history[-1]["batches"][-len(sizes) :], per_batch.mean(1).tolist(), sizes, strict=True
        ):
            entry[f"{prefix}_loss"], entry[f"{prefix}_batch_size"] = loss, n
        loss = per_member.mean().item()
        self.history.record(f"{prefix}_loss", loss)
        self.history.record(f"{prefix}_loss_best", all(loss < row[f"{prefix}_loss"] for row in self.history[:-1]))
        self.history.record(f"{prefix}_batch_count", len(sizes))

    # -- prediction ----------------------------------------------------------------------------------------------

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        super().on_train_begin(net, X=X, y=y, **kwargs)
        if self.optimizer_ is None:  # unpickled without: begin anew, where the schedule is
            horizon = self.total_steps_
            self.initialize_optimizer()
            self.total_steps_ = horizon
        self.copies_: dict[torch.dtype, nn.Module] = {}

    def batches(
        self,
        data: Batches,
        dtype: torch.dtype,
        method: str = "forward",
        rows: np.ndarray | None = None,
        *,
        whole: bool = False,
    ) -> Iterator[tuple[np.ndarray, Any, Tensor]]:
        """Outputs for the rows, or for all samples, without gradient, some of them at a time.

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
        parts = [torch.arange(n)] if whole else data.parts(chosen, self._most(data), self.module_.width)
        cuts = data.stream([chosen[part].to(data.device) for part in parts])
        for part, (values, present) in zip(parts, cuts, strict=True):
            with torch.inference_mode():
                outputs, exists = module(values, present, method=method), existing(present)
            yield part.numpy(), outputs, exists

    def outputs(
        self, data: Batches, dtype: torch.dtype, method: str = "forward", *, whole: bool = False
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
            if dtype not in self.copies_:
                self.copies_[dtype] = copy.deepcopy(module).to(dtype)
            module = self.copies_[dtype]
        if module.training:  # a walk over all layers, which costs a tenth of one row's prediction
            module.eval()
        return module

    def __getstate__(self) -> dict[str, Any]:
        light = object.__new__(type(self))
        # what skorch was given and what it made of it are the same; the rest is made again when needed
        light.__dict__.update(vars(self), module=None, criterion=None, copies_={}, faster_=[])
        return super(MultimodalNet, light).__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.module, self.criterion = self.module_, self.criterion_

    def without_training_state(self) -> MultimodalNet:
        """The same net without its optimizer, which takes twice as much as the weights, for a pickle."""
        light = object.__new__(type(self))
        light.__dict__.update(vars(self), optimizer_=None)
        return light


class Trained:
    """An estimator with a net: its pickle holds what training goes on from only where it is known to go on."""

    warm_start: bool

    def __getstate__(self) -> dict[str, Any]:
        above: Any = super()
        state: dict[str, Any] = {**above.__getstate__()}
        net = state.get("net_")
        if net is not None and not (self.warm_start or net.streamed_):
            state["net_"] = net.without_training_state()
        return state
