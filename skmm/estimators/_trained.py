"""What every estimator that trains a net shares: parameters, seeds, the part held out, training, history."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import check_scalar

from skmm._checks import check_declared, is_whole, unknown
from skmm._devices import draw_seed, draw_shared_seed, find_device
from skmm._ranks import current
from skmm.blocks import Blocks
from skmm.estimators._params import SpecParams
from skmm.spec import Optimizer, as_spec
from skmm.training._apart import train_apart
from skmm.training._checkpoint import Checkpoint, check_callbacks, identify
from skmm.training._identity import digest_of, shown, versions
from skmm.training._net import MultimodalNet
from skmm.training._optimizers import SCHEDULES
from skmm.training._sets import TrainingSet

_POSITIVE: dict[str, Any] = {"min_val": 0, "include_boundaries": "neither"}
_NOT_NEGATIVE: dict[str, Any] = {"min_val": 0, "include_boundaries": "left"}
# parameters that a fit may go on with whatever they are; of the callbacks the types count, of the device the kind
_FREE = frozenset({"checkpoint", "checkpoint_every", "callbacks", "device", "n_jobs", "verbose", "warm_start"})
_SHARE: dict[str, Any] = {"min_val": 0, "max_val": 1, "include_boundaries": "left"}


class TrainedEstimator(SpecParams, CallbackSupportMixin, BaseEstimator):
    """An estimator with a net."""

    hidden_dim: int | str
    dropout: float | str
    activation: Any
    optimizer: Any
    lr: float | str
    weight_decay: float
    lr_schedule: str | None
    max_epochs: int | str
    batch_size: int | str
    clip_grad_norm: float | None
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    sparse_components: int | None
    modality_dropout: float
    warm_start: bool
    callbacks: list[Any] | None
    checkpoint: Any
    checkpoint_every: int
    device: str
    verbose: int
    random_state: Any
    net_: Any
    n_iter_: int
    _random: np.random.RandomState
    _split_seed: int

    # Fitted attributes that not every fit leaves: what X looked like, what a first fit learned, what folds told.
    OF_FORM: ClassVar = ("n_features_in_", "feature_names_in_", "modality_transformer_")
    OF_FIRST: ClassVar = (*OF_FORM, "classes_", "stack_weights_", "expert_scores_")
    OF_FOLDS: ClassVar = ("oof_prediction_", "oof_score_", "oof_heads_")

    _is_clone = False  # whether several fits may share the checkpoint's path, each with a file of its own

    def __sklearn_clone__(self) -> Self:
        made = super().__sklearn_clone__()
        if self.checkpoint is not None:
            made._is_clone = True
        return made

    def __getstate__(self) -> dict[str, Any]:
        """The state, with what training goes on from only where it is known to go on."""
        state: dict[str, Any] = {**super().__getstate__()}
        net = state.get("net_")
        if net is not None and not (self.warm_start or net.streamed_):
            state["net_"] = net.without_training_state()
        return state

    def _check_params(self) -> None:
        """Refuse parameters that no fit can be made with."""
        for parameter in inspect.signature(type(self)).parameters.values():
            check_declared(parameter, getattr(self, parameter.name))
        if is_whole(self.random_state) and not 0 <= self.random_state < 2**32:
            raise ValueError(f"random_state={self.random_state!r} must lie between 0 and 2**32 - 1.")
        for name in ("n_jobs", "verbose"):
            if not isinstance(value := getattr(self, name, None), Integral | bool | np.bool_ | None):
                raise ValueError(f"{name}={value!r} must be a whole number.")
        if self.dropout != "auto":
            check_scalar(self.dropout, "dropout", Real, **_SHARE)
        check_scalar(self.weight_decay, "weight_decay", Real, **_NOT_NEGATIVE)
        if self.sparse_components is not None:
            check_scalar(self.sparse_components, "sparse_components", Integral, min_val=1)
        check_scalar(self.modality_dropout, "modality_dropout", Real, **_SHARE)
        if self.lr != "auto":
            check_scalar(self.lr, "lr", Real, **_POSITIVE)
        for name in ("hidden_dim", "max_epochs", "batch_size"):
            if getattr(self, name) != "auto":
                check_scalar(getattr(self, name), name, Integral, min_val=1)
        if self.clip_grad_norm is not None:
            check_scalar(self.clip_grad_norm, "clip_grad_norm", Real, **_POSITIVE)
        if self.early_stopping:
            between = {**_SHARE, "include_boundaries": "neither"}
            check_scalar(self.validation_fraction, "validation_fraction", Real, **between)
            check_scalar(self.n_iter_no_change, "n_iter_no_change", Integral, min_val=1)
            check_scalar(self.tol, "tol", Real, **_NOT_NEGATIVE)
        if self.lr_schedule is not None and self.lr_schedule not in SCHEDULES:
            raise unknown("lr_schedule", self.lr_schedule, SCHEDULES)
        check_scalar(self.checkpoint_every, "checkpoint_every", Integral, min_val=1)
        if self.checkpoint is not None:
            self._check_checkpoint()
        optimizer = as_spec(Optimizer, self.optimizer)
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must be a name, an Optimizer or a class, got {self.optimizer!r}.")
        optimizer.resolve()

    def _check_checkpoint(self) -> None:
        """Refuse a checkpoint that no fit could be written to, or go on from."""
        if not isinstance(self.checkpoint, str | os.PathLike):
            raise ValueError(f"checkpoint must be the path of a file or None, got {self.checkpoint!r}.")
        path = Path(self.checkpoint)
        if path.is_dir():
            raise ValueError(f"checkpoint={str(path)!r} is a folder; name a file in it.")
        if not path.parent.is_dir():
            raise ValueError(f"checkpoint={str(path)!r}: there is no folder {str(path.parent)!r}.")
        if self.random_state is None:
            raise ValueError(
                "checkpoint needs random_state: at None each fit begins with other weights, so that none goes on "
                "from another. Set a number, random_state=0."
            )
        check_callbacks(self.callbacks)

    def _check_supervised(self, y: Any) -> None:
        if y is None:
            raise ValueError(
                f"requires y to be passed, but the target y is None: {type(self).__name__} is supervised."
            )

    def _inherited(self) -> dict[str, Any]:
        """Values for the hyperparameters of encoders and fusion that are left at None."""
        return {"hidden_dim": self.hidden_dim, "dropout": self.dropout, "activation": self.activation}

    def _net_params(self, device: torch.device) -> dict[str, Any]:
        """Of the net, what the parameters say as they stand."""
        return {
            "optimizer_spec": as_spec(Optimizer, self.optimizer),
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "schedule": self.lr_schedule or "constant",
            "clip_grad_norm": self.clip_grad_norm,
            "train_split": None,
            "callbacks": self.callbacks,
            "device": str(device),
            "verbose": self.verbose if current().rank == 0 else 0,
        }

    def _start_random(self, *, reset: bool) -> tuple[np.random.RandomState, int]:
        """What a fit draws from, and the seed of what it holds out.

        A new fit draws its numbers from random_state; one that goes on continues with those of the first.
        """
        if not reset:
            return self._random, self._split_seed
        random = np.random.RandomState(draw_shared_seed(self.random_state))
        return random, draw_seed(random)

    def _split(
        self,
        strata: np.ndarray | None,
        groups: np.ndarray | None,
        n: int,
        seed: int,
        labels: Any = np.ndarray.tolist,
        times: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Of n samples those that train and, with ``early_stopping``, those that stop the training early.

        Classes of ``strata`` are told to the user by ``labels``. With ``times`` the last are held out.
        """
        everything = np.arange(n)
        if not self.early_stopping:
            return everything, None
        if times is not None:
            held = times >= np.quantile(times, 1 - self.validation_fraction, method="higher")
            if held.all():
                raise ValueError(f"early_stopping holds out the latest samples, and time is the same for all {n}.")
            return np.flatnonzero(~held), np.flatnonzero(held)
        if groups is not None:
            splitter = GroupShuffleSplit
        else:
            splitter = ShuffleSplit if strata is None else StratifiedShuffleSplit
        split = splitter(n_splits=1, test_size=self.validation_fraction, random_state=seed)
        try:
            alone = np.flatnonzero(np.bincount([] if strata is None else strata) == 1)
            if len(alone) and groups is None:  # scikit-learn's own message speaks of encoded classes
                raise ValueError(
                    "the part that is held out is stratified by class, for which each class needs 2 distinct "
                    f"samples; there is 1 of each of the classes {labels(alone)}. Leave such samples "
                    "out, or set early_stopping=False."
                )
            return next(split.split(everything, strata, groups))
        except ValueError as error:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction} of {n} distinct "
                f"samples: {error}"
            ) from None

    def _train(
        self,
        net: MultimodalNet,
        training: TrainingSet,
        validation: TrainingSet | None,
        epochs: int | None = None,
        *,
        n_parts: int | None = None,
        **ending: Any,
    ) -> Checkpoint | None:
        """Train a net, for its own number of epochs on its schedule, or, of a stream, for ``epochs`` more.

        ``n_parts`` are how many training sets of the stream there will be, if that is known.

        ``ending`` are callbacks that :meth:`MultimodalNet.train` knows. What is given back :meth:`_end` takes.
        """
        checkpoint = None
        if self.checkpoint is not None:
            identity = identify(self._of_fit(), net, training, validation)
            every, device = self.checkpoint_every, find_device(self.device)
            checkpoint = Checkpoint(Path(self.checkpoint), every, identity, device, own=self._is_clone)
        ending |= {"patience": self.n_iter_no_change, "tol": self.tol, "checkpoint": checkpoint}
        if epochs is not None:  # before any rank waits for another: what is wrong with it all ranks know
            net.expect_parts(training, n_parts)
        with current().leaving():
            if current().members:
                train_apart(net, training, validation, epochs, **ending)
            else:
                net.train(training, validation, epochs, **ending)
        return checkpoint

    def _in_common(self, blocks: Blocks, **given: Any) -> dict[str, Any]:
        """What all ranks must have in common before one of them waits for another in training.

        A random state is drawn from by the first rank alone.
        """
        own = self._of_fit().items()
        parameters = {f"the parameter {name}": pair for name, pair in own if name != "random_state"}
        others = {f"the version of {name}": ("", version) for name, version in versions().items()}
        samples = {f"modality {name!r}": (block, blocks.present[name]) for name, block in blocks.items()}
        return {**parameters, **others, **{name: digest_of(part) for name, part in {**samples, **given}.items()}}

    def _of_fit(self) -> dict[str, tuple[str, str]]:
        """The parameters on which a fit depends, as digests and as a message quotes them."""
        values = {name: value for name, value in self.get_params(deep=False).items() if name not in _FREE}
        values["estimator"] = type(self).__name__
        values["device"] = find_device(self.device).type
        values["callbacks"] = [type(callback).__name__ for callback in self.callbacks or []]
        return {name: (digest_of(value), shown(value)) for name, value in values.items()}

    def _assign(self, fitted: dict[str, Any], net: MultimodalNet, forget: Iterable[str] = ()) -> None:
        """Take what a fit learned, and ``forget`` of an earlier one what this may lack: the one place that does."""
        for name in forget:
            self.__dict__.pop(name, None)
        for name, value in {**of_training(net), **fitted}.items():
            setattr(self, name, value)

    def _end(self, checkpoint: Checkpoint | None) -> None:
        """End a fit: nothing is left to go on with, unless Ctrl-C ended training.

        That interrupt is raised then, and its result is kept: no search goes on with such a fit.
        """
        if self.net_.interrupted_:
            raise KeyboardInterrupt(f"training was interrupted after {self.n_iter_} epochs")
        if checkpoint is not None:
            checkpoint.remove()


def of_training(net: MultimodalNet) -> dict[str, Any]:
    """The net and what it knows of its training, as fitted attributes; without an epoch that has not ended."""
    losses = [float(row["train_loss"]) for row in net.history if "train_loss" in row]
    return {"net_": net, "history_": net.history, "loss_curve_": losses, "n_iter_": len(losses)}


def can_partial_fit(estimator: Any) -> bool:
    if estimator.early_stopping:
        raise AttributeError("partial_fit needs early_stopping=False: a stream has no part to hold out.")
    if estimator.checkpoint is not None:
        raise AttributeError("partial_fit needs checkpoint=None: a stream is kept by a pickle between two calls.")
    return True
