"""What classifier and regressor share: parameters, input, training, outputs."""

from __future__ import annotations

import copy
import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import check_consistent_length, check_scalar
from sklearn.utils.validation import check_random_state, column_or_1d, validate_data

from skmm._checks import unknown
from skmm._devices import find_device, seeded
from skmm._fitting import all_or_nothing
from skmm._private import check_sample_weight, safe_indexing
from skmm._warnings import warn
from skmm.augmentation import Batch, ModalityDropout, augmentations, compose
from skmm.blocks import Blocks, FlatLayout
from skmm.blocks._given import as_blocks, check_finite, is_named, refuse_unnamed
from skmm.columns._tables import as_frame, note_columns
from skmm.compose import ModalityTransformer
from skmm.compose._leaks import warn_of_leaks
from skmm.estimators._outputs import NetworkOutputs
from skmm.estimators._stacking import Stack, average, blind_weights, choose
from skmm.inputs._batches import Batches, ChangedBatches
from skmm.inputs._inputs import Inputs
from skmm.layers import Masks, Values, unsupported
from skmm.network._encoders import check_encoders
from skmm.network._members import MemberNetworks
from skmm.network._network import FusionNetwork, choose_fusion
from skmm.spec import Optimizer, SpecParams, as_spec, kinds_of
from skmm.training._losses import HeadsLoss
from skmm.training._net import (
    PRECISIONS,
    SCHEDULES,
    MultimodalNet,
    Trained,
    TrainingSet,
    _BestWeights,
    auto_batch_size,
    auto_epochs,
)
from skmm.training._plan import TrainingPlan, assign_folds, encode_groups, left_out_fold, training_set
from skmm.training._samples import canonical, digest, frame_order


class MultimodalEstimator(Trained, NetworkOutputs, SpecParams, BaseEstimator, metaclass=ABCMeta):
    """What classifier and regressor share: input, network, training, outputs."""

    inputs_: Inputs
    net_: MultimodalNet
    stack_: Stack
    modality_transformer_: ModalityTransformer
    _blind_state: str | None

    @classmethod
    def plain(cls, fusion: Any = "sum", **params: Any) -> Self:
        """One bare network: no members, no heads beside the fused one, no regularisation, no scaling.

        An estimator like any other, its parameters set to ``encoders="identity"``, ``n_members=1``,
        ``modality_loss=0``, ``dropout=0``, ``scale_inputs=False``, ``sparse_components=None``,
        ``optimizer="adam"``, ``lr=0.001``, ``lr_schedule=None``, ``weight_decay=0``.

        Parameters
        ----------
        fusion : str, Fusion, or nn.Module class or instance, default="sum"
            The fusion.
        **params
            Any parameters of the estimator, these included.

        Returns
        -------
        estimator

        Examples
        --------
        >>> from skmm import MultimodalClassifier
        >>> MultimodalClassifier.plain("sum", hidden_dim=50).n_members
        1
        """
        bare = {
            "encoders": "identity",
            "n_members": 1,
            "modality_loss": 0.0,
            "dropout": 0.0,
            "scale_inputs": False,
            "sparse_components": None,
            "optimizer": "adam",
            "lr": 1e-3,
            "lr_schedule": None,
            "weight_decay": 0.0,
        }
        return cls(fusion, **{**bare, **params})

    # -- what a subclass says ------------------------------------------------------------------------------------

    @abstractmethod
    def _encode_target(self, y: Any, reset: bool) -> np.ndarray:
        """y as numbers; of a first fit (``reset``) also what is learned of its form."""

    def _weigh(self, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sample weights, with those of the classes in them."""
        return weights

    @abstractmethod
    def _learn_target(self, target: np.ndarray, weights: np.ndarray) -> None:
        """Learn from the training targets what a sample without input is predicted as."""

    @abstractmethod
    def _tensor_target(self, target: np.ndarray) -> np.ndarray:
        """Targets as the loss reads them."""

    @abstractmethod
    def _loss_per_sample(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Loss of outputs and targets, one number per sample."""

    @abstractmethod
    def _finish(self, combined: np.ndarray) -> np.ndarray:
        """Probabilities or values from combined outputs (n_samples, C)."""

    @abstractmethod
    def _oof_score(self, combined: np.ndarray, target: np.ndarray, weights: np.ndarray) -> float:
        """Score of out-of-fold outputs, as ``score`` computes it."""

    # -- input ---------------------------------------------------------------------------------------------------

    def _read(self, X: Any, *, reset: bool) -> Blocks:
        """X as Blocks, whatever its form."""
        if is_named(X):
            blocks = as_blocks(X, reset=reset)
            if reset and hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            return blocks
        if isinstance(self.modalities, str) and self.modalities == "auto":
            return self._read_frame(X, reset)
        refuse_unnamed(X)
        X = validate_data(self, X, reset=reset, accept_sparse="csr", dtype="numeric", ensure_all_finite=False)
        if self.modalities is None:
            return Blocks({"X": X})
        if isinstance(self.modalities, FlatLayout):
            return Blocks.from_flat(X, self.modalities)
        if not isinstance(self.modalities, Mapping):
            raise ValueError(
                "modalities must be 'auto', a dict of name -> columns or the layout of Blocks.to_flat(), "
                f"got {self.modalities!r}."
            )
        return Blocks({name: X[:, self._columns(name, c, X.shape[1])] for name, c in self.modalities.items()})

    def _read_frame(self, X: Any, reset: bool) -> Blocks:
        """The columns of a DataFrame, typed in the first fit."""
        X = as_frame(X)
        if not hasattr(X, "columns"):
            raise ValueError(
                "modalities='auto' reads a pandas or polars DataFrame, a pyarrow Table or a Dataset of Hugging "
                f"Face, got {type(X).__name__}."
            )
        if not reset:
            return self.modality_transformer_.transform(X)
        note_columns(self, X)
        self.modality_transformer_ = transformer = ModalityTransformer.from_frame(X)
        # sums are rounded by the order of their terms, and what is learned is not to depend on that of the rows
        order = frame_order(X)
        try:
            blocks = transformer.fit_transform(safe_indexing(X, order))
        except Exception:
            transformer.fit_transform(X)  # says the same of the rows as they were given
            raise
        return blocks[np.argsort(order)]

    def _columns(self, name: str, columns: Any, n_columns: int) -> np.ndarray:
        """Column numbers of one modality."""
        if not isinstance(columns, (str, slice)):
            columns = np.atleast_1d(np.asarray(columns)).tolist()
        if isinstance(columns, str) or (isinstance(columns, list) and any(isinstance(c, str) for c in columns)):
            names = list(getattr(self, "feature_names_in_", []))
            wanted = [columns] if isinstance(columns, str) else columns
            for column in wanted:
                if column not in names:
                    raise unknown(f"column of modality {name!r}:", column, names)
            return np.array([names.index(column) for column in wanted])
        try:
            chosen = np.arange(n_columns)[columns if isinstance(columns, slice) else np.asarray(columns)]
        except IndexError as error:
            raise ValueError(f"modality {name!r}: columns {columns!r} of {n_columns}: {error}.") from None
        if chosen.size == 0:
            raise ValueError(f"modality {name!r}: columns {columns!r} select nothing from {n_columns} columns.")
        return np.atleast_1d(chosen)

    def _check_params(self) -> None:
        positive = {"min_val": 0, "include_boundaries": "neither"}
        not_negative = {"min_val": 0, "include_boundaries": "left"}
        check_scalar(self.hidden_dim, "hidden_dim", Integral, min_val=1)
        check_scalar(self.dropout, "dropout", Real, min_val=0, max_val=1, include_boundaries="left")
        check_scalar(self.weight_decay, "weight_decay", Real, **not_negative)
        if self.sparse_components is not None:
            check_scalar(self.sparse_components, "sparse_components", Integral, min_val=1)
        check_scalar(self.n_members, "n_members", Integral, min_val=1)
        check_scalar(self.modality_loss, "modality_loss", Real, **not_negative)
        check_scalar(
            self.modality_dropout, "modality_dropout", Real, min_val=0, max_val=1, include_boundaries="left"
        )
        if not isinstance(self.stack, bool) and self.stack != "auto":
            raise ValueError(f"stack={self.stack!r} is none of True, False and 'auto'.")
        if self.stack is True and self.n_members == 1:
            raise ValueError(
                "stack=True fits the stack on what each member says of the samples that it left out, so it needs "
                "n_members of 2 or more, got n_members=1; set n_members=8, or stack=False."
            )
        if self.lr != "auto":
            check_scalar(self.lr, "lr", Real, **positive)
        for name in ("max_epochs", "batch_size"):
            if getattr(self, name) != "auto":
                check_scalar(getattr(self, name), name, Integral, min_val=1)
        if self.clip_grad_norm is not None:
            check_scalar(self.clip_grad_norm, "clip_grad_norm", Real, **positive)
        if self.early_stopping:
            check_scalar(
                self.validation_fraction,
                "validation_fraction",
                Real,
                min_val=0,
                max_val=1,
                include_boundaries="neither",
            )
            check_scalar(self.n_iter_no_change, "n_iter_no_change", Integral, min_val=1)
            check_scalar(self.tol, "tol", Real, **not_negative)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.compile and self.n_members > 1:
            raise ValueError(
                f"compile=True needs n_members=1, got {self.n_members}: members are trained by torch.vmap, which "
                "torch.compile does not speed up."
            )
        if self.lr_schedule is not None and self.lr_schedule not in SCHEDULES:
            raise unknown("lr_schedule", self.lr_schedule, SCHEDULES)
        if not isinstance(as_spec(Optimizer, self.optimizer), Optimizer):
            raise ValueError(f"optimizer must be a name, an Optimizer or a class, got {self.optimizer!r}.")
        optimizer = as_spec(Optimizer, self.optimizer)
        optimizer.resolve()
        # one that looks at the loss several times in a step has one number for all, and that before it is scaled
        closure = inspect.signature(optimizer.target().step).parameters.get("closure")
        alone = closure is not None and closure.default is closure.empty
        if alone and (self.n_members > 1 or self.precision == "16"):
            raise ValueError(
                f"optimizer={self.optimizer!r} computes one loss several times in a step, for one network in full "
                f"precision: it needs n_members=1 and precision='32' or 'bf16', got n_members={self.n_members} and "
                f"precision={self.precision!r}. Set these, or choose another, such as 'adamw'."
            )

    def _seed(self) -> int:
        if self.random_state is None:  # drawn apart from numpy's global state, which fitting must not touch
            return int(np.random.default_rng().integers(2**31 - 1))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    # -- fit -----------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like or sparse matrix of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or for multilabel a matrix of 0 and 1; for regression the values.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, not negative.
        groups : array-like of shape (n_samples,), optional
            Group of each sample (speaker, patient, video): samples of one group are never parted between the
            folds of the members, nor by ``early_stopping``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is wrong with the parameters or the samples. The estimator is then as it was before.
        KeyboardInterrupt
            After Ctrl-C, so that whatever runs this fit ends too. After whole epochs what was learned is kept, and
            the estimator is fitted; before the first has ended it is as it was before.
        """
        going_on = self.warm_start and hasattr(self, "net_")
        return self._fit(X, y, sample_weight, groups, reset=not going_on, epochs=None)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, groups: Any = None, *, reset: bool, epochs: int | None
    ) -> Self:
        """Train from the start (``reset``) or go on; ``epochs`` None for the estimator's own number."""
        with all_or_nothing(self, None if reset else self.net_.undo()):
            plan = self._prepare(X, y, sample_weight, groups, reset=reset, epochs=epochs)
            device, seed = self._place_and_seed()
            with seeded(seed, device):
                if reset:
                    self._build(len(plan.train), device)
                training, validation = self._load_training(plan, device)
                self._train(training, validation, epochs)
                self._complete(plan, training)
        self._pass_on_ctrl_c()
        return self

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, groups: Any = None, *, reset: bool, epochs: int | None
    ) -> TrainingPlan:
        """Read the samples and divide them, all that comes before there is a network."""
        self._check_params()
        if y is None:
            raise ValueError(
                f"requires y to be passed, but the target y is None: {type(self).__name__} is supervised."
            )
        blocks = self._read(X, reset=reset)
        check_consistent_length(blocks, y, groups)
        if reset and isinstance(self.modalities, str) and not is_named(X):
            warn_of_leaks(self.modality_transformer_.find_leaks(X, y, groups))
        target = self._encode_target(y, reset)
        weights = check_sample_weight(
            sample_weight, target, dtype=np.float64, ensure_non_negative=True, allow_all_zero_weights=False
        )
        weights = self._drop_empty(blocks, weights)
        scored = weights  # what a score weighs knows nothing of class weights
        weights = self._weigh(target, weights)
        if groups is not None:
            groups = encode_groups(column_or_1d(groups))
        if reset:
            # A new fit draws its numbers from random_state; one that goes on continues with those of the first.
            self._random = np.random.RandomState(self._seed())
            self._split_seed = int(self._random.randint(2**31 - 1))
            choices = check_encoders(self.encoders, list(blocks))
            check_finite(blocks, {name: kinds_of(choices[name]) for name in blocks})
        else:
            self._random, self.inputs_ = copy.deepcopy(self._random), copy.copy(self.inputs_)
            blocks = self.inputs_.check(blocks, training=True)
            if self.net_.module_.n_members != self.n_members:
                raise ValueError(
                    f"n_members={self.n_members} is not that of the first fit, {self.net_.module_.n_members}."
                )
        rows, distinct, owner = canonical(blocks, target, weights, groups)
        groups = None if groups is None else groups[rows]
        train, valid = self._split(target[rows], groups)
        chosen = rows[train]
        if reset:
            self.inputs_ = Inputs(
                blocks[chosen],
                distinct[train],
                choices,
                self.scale_inputs,
                self.sparse_components,
                dropped=self._hides_modalities(),
                n_jobs=self.n_jobs,
                device=find_device(self.device),
            )
            if is_named(X):
                self.n_features_in_ = self.inputs_.n_features
            self.modalities_ = self.inputs_.infos
            blocks = self.inputs_.begin(blocks, rows[[] if valid is None else valid])
            self._learn_target(target[chosen], distinct[train])
        if epochs is None:
            labels = self._stratify(target[chosen])
            group = None if groups is None else groups[train]
            folds = assign_folds(self.n_members, labels, group, len(train), self._split_seed)
        else:  # a stream has no rows to leave out: what a member does not see now is gone
            folds = np.full(len(train), -1)
        # Members that trained on other samples before, or with other folds, are blind to none of these: the stack
        # of the first fit then stays, and there is no out-of-fold prediction.
        state = digest(blocks[chosen], target[chosen], folds) if self.warm_start else ""
        blind = folds.max() >= 0 and (reset or state == self._blind_state)
        self._blind_state = state if blind else None
        for name in ("oof_prediction_", "oof_score_", *(("stack_", "stack_weights_") if reset else ())):
            self.__dict__.pop(name, None)
        return TrainingPlan(blocks, target, rows, distinct, owner, train, valid, folds, blind, scored)

    def _hides_modalities(self) -> bool:
        """Whether training hides modalities of samples at random."""
        changes = (change for _, change in augmentations(self.augment))
        return self.modality_dropout > 0 or any(isinstance(change, ModalityDropout) for change in changes)

    def _place_and_seed(self) -> tuple[torch.device, int]:
        """Where to train, and the seed of all that is drawn from now on."""
        return find_device(self.device), int(self._random.randint(2**31 - 1))

    def _load_training(self, plan: TrainingPlan, device: torch.device) -> tuple[TrainingSet, TrainingSet | None]:
        """Samples on the device, as the rows that train and those that stop the training early."""
        data = self.inputs_.load(plan.blocks, torch.float32, device)
        encoded = torch.as_tensor(self._tensor_target(plan.target), device=device)
        members = [plan.train[plan.folds != left_out_fold(k, plan.folds)] for k in range(self.n_members)]
        training = training_set(data, encoded, plan.rows, plan.distinct, members)
        if plan.valid is None:
            return training, None
        return training, training_set(data, encoded, plan.rows, plan.distinct, [plan.valid] * self.n_members)

    def _complete(self, plan: TrainingPlan, training: TrainingSet) -> None:
        """What follows the training of the network."""
        if plan.blind:
            place = np.full(len(plan.rows), -1)
            place[plan.train] = np.arange(len(plan.train))
            place = np.where(plan.owner >= 0, place[plan.owner], -1)
            rows, distinct = plan.rows[plan.train], plan.distinct[plan.train]
            self._fit_stack(training.data, training.target, rows, distinct, plan.folds, place, plan.scored)

    def _drop_empty(self, blocks: Blocks, weights: np.ndarray) -> np.ndarray:
        """A sample without any modality cannot be learned from."""
        empty = ~np.any(list(blocks.present.values()), axis=0) & (weights > 0)
        if not empty.any():
            return weights
        if empty.sum() == (weights > 0).sum():
            raise ValueError(f"no sample has any of the modalities {list(blocks)}: all rows are missing (NaN).")
        warn(
            f"{empty.sum()} of {len(weights)} samples have no modality at all and are left out of training, "
            f"the first is row {np.flatnonzero(empty)[0]}."
        )
        return np.where(empty, 0.0, weights)

    def _split(self, target: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Samples that train and samples that stop the training early."""
        everything = np.arange(len(target))
        if not self.early_stopping:
            return everything, None
        labels = self._stratify(target)
        if groups is not None:
            splitter = GroupShuffleSplit
        else:
            splitter = ShuffleSplit if labels is None else StratifiedShuffleSplit
        split = splitter(n_splits=1, test_size=self.validation_fraction, random_state=self._split_seed)
        try:
            alone = np.flatnonzero(np.bincount([] if labels is None else labels) == 1)
            if len(alone) and groups is None:  # scikit-learn's own message speaks of encoded classes
                raise ValueError(
                    "the part that is held out is stratified by class, for which each class needs 2 distinct "
                    f"samples; there is 1 of each of the classes {self._class_names(alone)}. Leave such samples "
                    "out, or set early_stopping=False."
                )
            return next(split.split(everything, labels, groups))
        except ValueError as error:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction} of {len(target)} distinct "
                f"samples: {error}"
            ) from None

    def _stratify(self, target: np.ndarray) -> np.ndarray | None:
        """Classes by which held-out parts are stratified."""
        return None

    def _class_names(self, classes: np.ndarray) -> list[Any]:
        """Such classes as the user wrote them."""
        return classes.tolist()

    def _build(self, n_samples: int, device: torch.device) -> None:
        """The networks and the net that trains them."""
        inherited = {"hidden_dim": self.hidden_dim, "dropout": self.dropout, "activation": self.activation}
        seeds = tuple(int(self._random.randint(2**31 - 1)) for _ in range(self.n_members))
        self.fusion_ = choose_fusion(self.fusion, self.inputs_.infos)
        networks = []
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(
                FusionNetwork(
                    self.inputs_.infos,
                    self.fusion_,
                    self.encoders,
                    self._n_outputs,
                    self._link,
                    inherited,
                    modality_heads=self.modality_loss > 0,
                )
            )
        if self.compile and (reason := unsupported(networks[0], "compile")):
            raise ValueError(f"compile=True: {reason}; set compile=False.")
        batch_size = auto_batch_size(n_samples) if self.batch_size == "auto" else self.batch_size
        max_epochs = auto_epochs(n_samples, batch_size) if self.max_epochs == "auto" else self.max_epochs
        hide = (ModalityDropout(self.modality_dropout),) if self.modality_dropout else ()
        self.net_ = MultimodalNet(
            MemberNetworks(networks),
            HeadsLoss(self._loss_per_sample(), self.modality_loss),
            optimizer_spec=as_spec(Optimizer, self.optimizer),
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=self.lr_schedule or "constant",
            clip_grad_norm=self.clip_grad_norm,
            seeds=seeds,
            batch_size=batch_size,
            max_epochs=max_epochs,
            augment=(*compose(self.augment, self.inputs_.infos, self.inputs_.scalers), *hide),
            precision=self.precision,
            compiled=self.compile,
            train_split=None,
            callbacks=self.callbacks,
            device=str(device),
            verbose=self.verbose,
        )
        self.net_.initialize()
        self._n_features_out = self.n_members * networks[0].fusion.out_dim

    def _train(self, training: TrainingSet, validation: TrainingSet | None, epochs: int | None) -> None:
        net = self.net_
        stopper = None
        if validation is not None:
            stopper = _BestWeights(self.n_iter_no_change, self.tol)
            net.callbacks_.append(("best_weights", stopper))
        if epochs is None:
            net.set_horizon(len(training))
        else:
            net.streamed_ = True
        before = len(net.history)
        epochs = net.max_epochs if epochs is None else epochs
        try:
            net.partial_fit((training, validation), epochs=epochs)
        finally:
            if stopper is not None:
                net.callbacks_.remove(("best_weights", stopper))
        while len(net.history) and "train_loss" not in net.history[-1]:
            net.history.pop()  # an epoch that was interrupted
        done = len(net.history) - before
        if net.interrupted_ and not done:
            raise KeyboardInterrupt("training was interrupted before its first epoch had ended")
        if done < epochs and not (stopper is not None and stopper.stopped):
            warn(f"training was interrupted after {done} of {epochs} epochs; what was learned is kept.")
        self._keep_history()

    def _pass_on_ctrl_c(self) -> None:
        """Raise the interrupt that ended training, whose result is kept: no search goes on with such a fit."""
        if self.net_.interrupted_:
            raise KeyboardInterrupt(f"training was interrupted after {self.n_iter_} epochs")

    def _keep_history(self) -> None:
        net = self.net_
        self.history_ = net.history
        self.loss_curve_ = [float(row["train_loss"]) for row in net.history]
        self.n_iter_ = len(net.history)

    # -- the stack over the heads --------------------------------------------------------------------------------

    def _wants_stack(self) -> bool:
        return self.n_members > 1 if self.stack == "auto" else bool(self.stack)

    def _fit_stack(
        self,
        data: Batches,
        encoded: torch.Tensor,
        rows: np.ndarray,
        distinct: np.ndarray,
        folds: np.ndarray,
        place: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """Combine the heads by what each member says of the samples that it left out.

        Rows, weights and folds of the distinct training samples; for every sample which of them it is equal to, -1
        for none, and its weight.
        """
        # only of the distinct samples, in their own order: equivalent data sets then give the same to the last bit
        target = encoded.cpu()
        blind = blind_weights(self.n_members, folds)
        if not self._wants_stack():

            def averaged(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
                return (average(outputs[:, :, 0], self._link, blind[:, at]),)

            (combined,) = self._reduced(data, torch.float32, averaged, rows)
        else:
            n, t = len(rows), target[rows].to(_wide(target))

            def left_out(at: np.ndarray, outputs: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, ...]:
                z = np.einsum("kn,knhc->nhc", blind[:, at], Stack.features(outputs, exists, self._link))
                return (z.astype(Stack.stored(n * z[0].size), copy=False),)

            (z,) = self._reduced(data, torch.float32, left_out, rows)
            if hiding := [change for change in self.net_.augment if isinstance(change, ModalityDropout)]:
                # what training hides will be missing, and the heads that are left then speak otherwise
                with seeded(self.net_.seeds[0], data.device):
                    (more,) = self._reduced(hide(data, hiding), torch.float32, left_out, rows)
                z, t = np.concatenate([z, more]), torch.cat([t, t])
                folds, distinct = np.tile(folds, 2), np.tile(distinct, 2) / 2

            def fitted(mixing: float | None, chosen: np.ndarray, start: Stack | None = None) -> Stack:
                stack = Stack(self._link, self._loss_per_sample(), mixing)
                return stack.fit(z, t, distinct, start, rows=np.flatnonzero(chosen))

            # a sample is scored by members and a stack that were fitted without its fold
            trials = []
            for mixing in Stack.mixings(self._link, n, *z.shape[1:]):
                whole = fitted(mixing, np.ones(len(z), dtype=bool))
                blindly = np.empty(z.shape[::2])
                for fold in np.unique(folds):
                    here = folds == fold
                    blindly[here] = fitted(mixing, ~here, whole).combine(z, np.flatnonzero(here))
                loss = self._loss_per_sample()(torch.from_numpy(blindly), t).numpy()
                trials.append((loss, whole, blindly))
            self.stack_, combined = choose(trials, distinct)
            combined = combined[:n]
            self.stack_weights_ = self.stack_.table(self._heads, self._output_names())
        everything = combined[place]
        others = np.flatnonzero(place < 0)
        if len(others):
            everything[others], _ = self._combined(data, torch.float32, others)
        self.oof_prediction_ = self._finish(everything)
        self.oof_score_ = self._oof_score(everything, target.numpy(), np.where(place >= 0, weights, 0.0))

    def _output_names(self) -> list[str]:
        return [str(i) for i in range(self._n_outputs)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _wide(target: torch.Tensor) -> torch.dtype:
    """float64 for real targets, classes as they are."""
    return torch.float64 if target.is_floating_point() else target.dtype


def can_partial_fit(estimator: Any) -> bool:
    if estimator.early_stopping:
        raise AttributeError("partial_fit needs early_stopping=False: a stream has no part to hold out.")
    return True


def hide(data: Batches, hiding: list[ModalityDropout]) -> Batches:
    """The samples of some batches, of which modalities are hidden as in training."""

    def change(rows: torch.Tensor, values: Values, present: Masks) -> tuple[Values, Masks]:
        batch = Batch(values, present, rows, None, axes=1)
        for each in hiding:
            batch = each(batch)
        return values, batch.present

    return ChangedBatches(data, change)
