"""What classifier and regressor share: parameters, the reading of X, and the fit."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import time as time_module
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.callback import with_callbacks
from sklearn.utils import check_consistent_length, check_scalar
from sklearn.utils.validation import column_or_1d

from skmm._checks import unknown
from skmm._devices import draw_seed, find_device, seeded
from skmm._fitting import all_or_nothing
from skmm._private import check_sample_weight
from skmm._progress import showing
from skmm._ranks import current
from skmm._warnings import warn, warn_of_forgotten_groups
from skmm.augmentation import ModalityDropout, augmentations, compose
from skmm.blocks import Blocks
from skmm.blocks._given import check_finite, warn_of_channels
from skmm.columns._tables import warn_of_another_order
from skmm.compose._leaks import warn_of_leaks
from skmm.estimators._experts import ExpertFolds, Experts, check_experts, warn_of_no_folds, with_experts
from skmm.estimators._heads import combined, head_names
from skmm.estimators._outputs import NetworkOutputs
from skmm.estimators._prepared import Opened, Prepared, Samples, check_goes_on
from skmm.estimators._profile import Profiled
from skmm.estimators._reading import TableReading, drop_empty, refuse_gaps, with_target
from skmm.estimators._stack import Stack
from skmm.estimators._stacking import average_left_out, fit_stack, left_out, losses_of_fused
from skmm.estimators._targets import Target
from skmm.estimators._trained import TrainedEstimator, of_training
from skmm.inputs._inputs import Inputs
from skmm.layers import unsupported
from skmm.network._encoders import check_encoders, settled
from skmm.network._members import MemberNetworks
from skmm.network._network import FusionNetwork, choose_fusion
from skmm.spec import Optimizer, as_spec, kinds_of
from skmm.training._budget import Rounds, TimeLimit
from skmm.training._losses import HeadsLoss
from skmm.training._net import PRECISIONS, MultimodalNet
from skmm.training._optimizers import (
    MOST_EPOCHS,
    auto_batch_size,
    auto_dropout,
    auto_epochs,
    auto_width,
    goes_on,
)
from skmm.training._plan import (
    Folds,
    TrainingPlan,
    assign_folds,
    check_number_of_folds,
    encode_marks,
    folds_of_splits,
    folds_of_time,
    splits_of,
    training_set,
)
from skmm.training._samples import canonical, digest
from skmm.training._sets import TrainingSet
from skmm.training._tasks import FitTasks

_SHARE_OF_EXPERTS = 1 / 3  # of a time limit, after which no more of them begin


class MultimodalEstimator(TableReading, Profiled, NetworkOutputs, TrainedEstimator, metaclass=ABCMeta):
    """What classifier and regressor share: input, network, training, outputs."""

    encoders: Any
    modalities: Any
    scale_inputs: bool
    n_members: int
    modality_loss: float
    augment: Any
    stack: bool | str
    experts: Any
    cv: Any
    time_limit: float | None
    device: str
    precision: str
    compile: bool
    n_jobs: int | None
    random_state: Any
    store_oof: bool
    _seen: str | None

    @classmethod
    def plain(cls, fusion: Any = "sum", **params: Any) -> Self:
        """One bare network: no members, no heads beside the fused one, no regularisation, no scaling.

        An estimator like any other, its parameters set to ``encoders="identity"``, ``n_members=1``,
        ``modality_loss=0``, ``dropout=0``, ``scale_inputs=False``, ``sparse_components=None``, ``experts=None``,
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
            "experts": None,
            "optimizer": "adam",
            "lr": 1e-3,
            "lr_schedule": None,
            "weight_decay": 0.0,
        }
        return cls(fusion, **{**bare, **params})

    @abstractmethod
    def _first_target(self, y: Any, classes: np.ndarray | None) -> tuple[Target, np.ndarray]:
        """The target of a first fit, of these ``classes`` if they are known, and y as numbers."""

    # -- parameters ----------------------------------------------------------------------------------------------

    def _check_params(self) -> None:
        super()._check_params()
        check_scalar(self.n_members, "n_members", Integral, min_val=1)
        check_scalar(self.modality_loss, "modality_loss", Real, min_val=0, include_boundaries="left")
        check_number_of_folds(self.cv, self.n_members)
        if not isinstance(self.stack, bool | np.bool_) and self.stack != "auto":
            raise ValueError(f"stack={self.stack!r} is none of True, False and 'auto'.")
        if self.n_members == 1 and self._wants_stack():
            raise ValueError(
                "stack=True fits the stack on what each member says of the samples that it left out, so it needs "
                "n_members of 2 or more, got n_members=1; set n_members=8, or stack=False."
            )
        if self.time_limit is not None:
            check_scalar(self.time_limit, "time_limit", Real, min_val=0, include_boundaries="neither")
        check_experts(self.experts, classify=is_classifier(self))
        if isinstance(self.experts, Mapping) and self.experts and not self._wants_stack():
            raise ValueError(
                f"experts={list(self.experts)} join the stack, which needs n_members of 2 or more and stack=True "
                f"or 'auto'; got n_members={self.n_members}, stack={self.stack!r}."
            )
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.compile and self.n_members > 1:
            raise ValueError(
                f"compile=True needs n_members=1, got {self.n_members}: members are trained by torch.vmap, which "
                "torch.compile does not speed up."
            )
        # one that looks at the loss several times in a step has one number for all, and that before it is scaled
        closure = inspect.signature(as_spec(Optimizer, self.optimizer).target().step).parameters.get("closure")
        alone = closure is not None and closure.default is closure.empty
        if alone and (self.n_members > 1 or self.precision == "16"):
            raise ValueError(
                f"optimizer={self.optimizer!r} computes one loss several times in a step, for one network in full "
                f"precision: it needs n_members=1 and precision='32' or 'bf16', got n_members={self.n_members} and "
                f"precision={self.precision!r}. Set these, or choose another, such as 'adamw'."
            )

    def _wants_stack(self) -> bool:
        return self.n_members > 1 if isinstance(self.stack, str) else bool(self.stack)

    def _hides_modalities(self) -> bool:
        """Whether training hides modalities of samples at random."""
        changes = (change for _, change in augmentations(self.augment))
        return self.modality_dropout > 0 or any(isinstance(change, ModalityDropout) for change in changes)

    # -- fit -----------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, time: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : Blocks, dict of arrays, or table, array-like or sparse matrix of shape (n_samples, n_features)
            Samples. What learned from a table also predicts a row of it as a dict or Series, and a list of dicts.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or for multilabel a matrix of 0 and 1; for regression the values. Of a
            :class:`~skmm.LazyTable` the name of its column, or a list of names, will do.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, not negative.
        groups : array-like of shape (n_samples,), optional
            Group of each sample (speaker, patient, video): samples of one group are never parted between the
            folds of the members, nor by ``early_stopping``. Where there are fewer than two for each member, half of
            the members leave groups out, for the stack, and those that saw all predict.
        time : array-like of shape (n_samples,), optional
            When each sample was: numbers, dates, or anything that sorts. What is left out then lies after what was
            learned from, as the samples to predict will, and so does what ``early_stopping`` holds out; half of the
            members see all, and predict.

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
        return self._fit(X, y, sample_weight, groups, time, reset=not going_on)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any = None,
        time: Any = None,
        **how: Any,
    ) -> Self:
        """Train as :meth:`_fit_open` does."""
        self._fit_open(X, y, sample_weight, groups, time, **how)
        return self

    @with_callbacks
    def _fit_open(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        time: Any = None,
        *,
        reset: bool = True,
        epochs: int | None = None,
        classes: np.ndarray | None = None,
        soft: np.ndarray | None = None,
        n_parts: int | None = None,
        prepared: Prepared | None = None,
    ) -> Opened:
        """A fit from the start (``reset``) or one that goes on, and what it had open.

        Of a stream, maybe of ``n_parts``, it is one for so many ``epochs``. ``soft`` are predictions, probabilities
        or values, of each sample that are learned from in place of y. ``prepared`` is known where others share it.
        """
        start = time_module.monotonic()
        current().agree(self._check_params)
        X, y = current().agree(functools.partial(with_target, X, y))
        tasks = FitTasks(self, 1 + 2 * self._wants_stack(), X, y, sample_weight)
        with showing(bool(self.verbose)), all_or_nothing(self, None if reset else self.net_.undo()):
            stream = epochs is not None
            given = X, y, sample_weight, groups, time
            if prepared is None:
                prepared = self._prepare(*given, reset=reset, stream=stream, classes=classes, soft=soft)
            random, device = copy.deepcopy(prepared.random), find_device(self.device)
            with seeded(draw_seed(random), device):
                net = self._build(prepared, random, device) if reset else self.net_
                training, validation = self._load_training(prepared, device)
                stacks = prepared.plan.blind and self._wants_stack()
                if reset and not stream and not stacks:
                    warn_of_no_folds(self.experts)
                if stacks and self.time_limit is not None:
                    self._fit_experts(prepared, tasks)  # first, for training ends when the time does
                rounds = self._rounds(prepared, net, training) if epochs is None and reset else None
                limit = None if self.time_limit is None else TimeLimit(self.time_limit, start + self.time_limit)
                tasks.fitted = functools.partial(self._fitted_by, prepared, random, reset=reset)
                how: dict[str, Any] = {"rounds": rounds, "limit": limit, "tasks": tasks}
                checkpoint = self._train(net, training, validation, epochs, n_parts=n_parts, **how)
                if stacks and self.time_limit is None:
                    self._fit_experts(prepared, tasks)
                with tasks.task("stack") if stacks else contextlib.nullcontext():
                    self._complete(prepared, random, net, training, reset=reset)
            tasks.finish()
        self._end(checkpoint)
        return Opened(prepared, training)

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        time: Any = None,
        *,
        reset: bool = True,
        stream: bool = False,
        classes: np.ndarray | None = None,
        soft: np.ndarray | None = None,
    ) -> Prepared:
        """Read the samples and divide them, all that comes before there is a network; nothing is set here.

        What calls it has checked the parameters.
        """
        how: dict[str, Any] = {"reset": reset, "whole": not stream, "classes": classes, "soft": soft}
        read = functools.partial(self._read_samples, X, y, sample_weight, groups, time, **how)
        given = current().agree(read, lambda given: self._in_common(given.blocks, **given.beside))
        blocks, target = given.blocks, given.target
        random, split_seed = self._start_random(reset=reset)
        if reset:
            encoders = check_encoders(self.encoders, list(blocks))
            check_finite(blocks, {name: kinds_of(encoders[name]) for name in blocks})
            warn_of_channels(blocks)
        else:
            inputs = copy.copy(self.inputs_)
            blocks = inputs.check(blocks, training=True)
        rows, weights, owner = canonical(blocks, given.encoded, given.weights, given.marks)
        groups = None if given.groups is None else given.groups[rows]
        times = None if given.times is None else given.times[rows]
        strata = target.strata(given.encoded[rows])
        train, valid = self._split(strata, groups, len(rows), split_seed, target.labels, times=times)
        encoded = given.encoded[rows[train]]
        if reset:
            inputs = self._learn_inputs(blocks[rows[train]], weights[train], encoders)
            target.learn(encoded, weights[train])
            blocks = inputs.begin(blocks, rows[[] if valid is None else valid])
        groups = None if groups is None else groups[train]
        # a stream has no rows to leave out: what a member does not see now is gone
        folds = Folds.none(len(train)) if stream else self._folds(given, rows[train], target, groups, split_seed)
        # Members that trained on other samples before, or with other folds, are blind to none of these: the stack
        # of the first fit then stays, and there is no out-of-fold prediction.
        seen = digest(blocks[rows[train]], encoded, folds.fold) if self.warm_start else ""
        blind = len(folds) > 0 and (reset or seen == self._seen)
        scored = given.scored
        plan = TrainingPlan(blocks, given.encoded, rows, weights, owner, train, valid, folds, blind, scored, groups)
        wait = float("inf") if self.time_limit is None else self.time_limit * _SHARE_OF_EXPERTS
        experts = ExpertFolds(
            self.experts,
            inputs,
            target,
            blocks,
            rows[train],
            encoded,
            weights[train],
            folds,
            split_seed,
            time_module.monotonic() + wait,
        )
        return Prepared(plan, inputs, target, random, split_seed, seen if blind else None, experts, given.form)

    def _folds(
        self, given: Samples, rows: np.ndarray, target: Target, groups: np.ndarray | None, seed: int
    ) -> Folds:
        """What members leave out of these rows of the samples."""
        strata = target.strata(given.encoded[rows])
        if given.splits is not None and self.n_members > 1:
            folds = folds_of_splits(self.n_members, given.splits, len(given.blocks))
            return folds.cut(rows)
        if given.times is not None and self.n_members > 1:
            return folds_of_time(self.n_members, given.times[rows], groups)
        n_folds = int(self.cv) if isinstance(self.cv, Integral) else self.n_members
        return assign_folds(n_folds, strata, groups, len(rows), seed)

    def _read_samples(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        time: Any,
        *,
        reset: bool,
        whole: bool,
        classes: Any,
        soft: np.ndarray | None,
    ) -> Samples:
        """Samples as numbers; ``whole`` if y holds all classes that there will be."""
        self._check_supervised(y)
        blocks, noted = self._first_read(X) if reset else (self._read(X), self)
        form = {name: value for name, value in vars(noted).items() if name in self.OF_FORM}
        refuse_gaps(y)
        warn_of_another_order(X, y=y, sample_weight=sample_weight, groups=groups, time=time)
        check_consistent_length(blocks, y, groups, time)
        if reset and "modality_transformer_" in form:
            warn_of_leaks(form["modality_transformer_"].find_leaks(X, y, groups))
        target, encoded = self._first_target(y, classes) if reset else (self._target, self._target.encode(y))
        scored = check_sample_weight(
            sample_weight, encoded, dtype=np.float64, ensure_non_negative=True, allow_all_zero_weights=False
        )
        scored = drop_empty(blocks, scored)
        weights = target.weigh(encoded, scored, getattr(self, "class_weight", None), whole=whole)
        if soft is not None:
            target, encoded = target.softened(soft)
        by_number = self.cv is None or isinstance(self.cv, Integral)
        splits = None if by_number else splits_of(self.cv, y, groups, len(blocks), classify=is_classifier(self))
        if groups is None and self.cv is None and self.n_members > 1:
            warn_of_forgotten_groups()
        groups = None if groups is None else encode_marks(column_or_1d(groups), "groups")
        times = None if time is None else encode_marks(column_or_1d(time), "time")
        if not reset:
            check_goes_on(self.net_, self.n_members, 1 + len(self.inputs_.infos) * bool(self.modality_loss))
        return Samples(blocks, form, target, encoded, scored, weights, groups, times, splits)

    def _learn_inputs(
        self, blocks: Blocks, weights: np.ndarray, encoders: Mapping[str, Any], *, scale: bool = True
    ) -> Inputs:
        """What is remembered of the modalities, learned from the samples that train."""
        return Inputs(
            blocks,
            weights,
            encoders,
            scale and self.scale_inputs,
            self.sparse_components,
            dropped=self._hides_modalities(),
            n_jobs=self.n_jobs,
            device=find_device(self.device),
        )

    def _goes_on(self, plan: TrainingPlan) -> bool:
        """Whether training may go on for longer than planned, if what is left out says so."""
        return self.max_epochs == "auto" and plan.blind and plan.valid is None and goes_on(len(plan.train))

    def _rounds(self, prepared: Prepared, net: MultimodalNet, training: TrainingSet) -> Rounds | None:
        """What lets training go on."""
        if not self._goes_on(prepared.plan):
            return None
        samples = prepared.target, training, prepared.plan
        measured = functools.partial(losses_of_fused, *samples, self.n_members)
        return Rounds(net.max_epochs, max(MOST_EPOCHS, net.max_epochs), measured)

    def _load_training(self, prepared: Prepared, device: torch.device) -> tuple[TrainingSet, TrainingSet | None]:
        """Samples on the device, as the rows that train and those that stop the training early."""
        plan = prepared.plan
        data = prepared.inputs.load(plan.blocks, torch.float32, device)
        encoded = torch.as_tensor(prepared.target.tensor(plan.target), device=device)
        training = training_set(data, encoded, plan.rows, plan.weights, plan.members(self.n_members))
        if plan.valid is None:
            return training, None
        return training, training_set(data, encoded, plan.rows, plan.weights, [plan.valid] * self.n_members)

    def _network_args(self, inputs: Inputs, target: Target, fusion: Any, n_samples: int) -> dict[str, Any]:
        """What a network for so many samples is made of."""
        own = self._inherited()
        if own["hidden_dim"] == "auto":
            own["hidden_dim"] = auto_width(n_samples, target.n_outputs)
        if own["dropout"] == "auto":
            own["dropout"] = auto_dropout(n_samples)
        return {
            "infos": inputs.infos,
            "fusion": fusion,
            "encoders": self.encoders,
            "n_outputs": target.n_outputs,
            "link": target.link,
            "inherited": own,
            "modality_heads": self.modality_loss > 0,
        }

    def _build(self, prepared: Prepared, random: np.random.RandomState, device: torch.device) -> MultimodalNet:
        """The networks, and the net that trains them."""
        inputs, target = prepared.inputs, prepared.target
        seeds = tuple(draw_seed(random) for _ in range(self.n_members))
        fusion = choose_fusion(self.fusion, inputs.infos)
        args = self._network_args(inputs, target, fusion, len(prepared.plan.train))
        networks = []
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(FusionNetwork(**args))
        if self.compile and (reason := unsupported(networks[0], "compile")):
            raise ValueError(f"compile=True: {reason}; set compile=False.")
        n_samples = len(prepared.plan.train)
        batch_size = auto_batch_size(n_samples) if self.batch_size == "auto" else int(self.batch_size)
        max_epochs = auto_epochs(n_samples, batch_size) if self.max_epochs == "auto" else self.max_epochs
        hide = (ModalityDropout(self.modality_dropout),) if self.modality_dropout else ()
        net = MultimodalNet(
            MemberNetworks(networks),
            HeadsLoss(target.loss, self.modality_loss),
            seeds=seeds,
            batch_size=batch_size,
            max_epochs=max_epochs,
            augment=(*compose(self.augment, inputs.infos, inputs.scalers), *hide),
            precision=self.precision,
            compiled=self.compile,
            speakers=prepared.plan.folds.speakers(self.n_members),
            **self._net_params(device),
        )
        # as the networks are, whatever a later version would choose for itself
        net.made_of_ = {**args, "encoders": settled(args["encoders"], list(inputs.infos), networks[0].encoders)}
        return net.initialize()

    @staticmethod
    def _fit_experts(prepared: Prepared, tasks: FitTasks) -> None:
        with tasks.task("experts"):
            prepared.experts.fit()

    def _complete(
        self,
        prepared: Prepared,
        random: np.random.RandomState,
        net: MultimodalNet,
        training: TrainingSet,
        *,
        reset: bool = True,
    ) -> None:
        """What follows the training of the network; all that was learned becomes the estimator's here."""
        fitted = self._learned(prepared, random, net, reset=reset)
        if prepared.plan.blind:
            fitted |= self._out_of_fold(prepared, net, training, reset=reset)
        self._assign(fitted, net, forget=(*(self.OF_FIRST if reset else ()), *self.OF_FOLDS))

    def _fitted_by(
        self, prepared: Prepared, random: np.random.RandomState, net: MultimodalNet, *, reset: bool
    ) -> dict[str, Any]:
        """All with which a copy of the estimator predicts by a net in training: the mean of its members."""
        now = net.snapshot()
        return {**self._learned(prepared, random, now, reset=reset), **of_training(now)}

    def _learned(
        self, prepared: Prepared, random: np.random.RandomState, net: MultimodalNet, *, reset: bool
    ) -> dict[str, Any]:
        """Fitted attributes that do not depend on what was left out."""
        inputs, target = prepared.inputs, prepared.target.hardened()
        fitted: dict[str, Any] = {"_target": target, "inputs_": inputs, "_random": random, "_seen": prepared.seen}
        if reset:
            fitted |= {
                **prepared.form,
                **target.attributes(),
                "modalities_": inputs.infos,
                "fusion_": choose_fusion(self.fusion, inputs.infos),
                "stack_": None,
                "experts_": None,
                "_split_seed": prepared.split_seed,
                "_n_features_out": net.module_.n_members * net.module_.network.fusion.out_dim,
            }
            if not prepared.form:  # of named blocks
                fitted["n_features_in_"] = inputs.n_features
        return fitted

    def _out_of_fold(
        self, prepared: Prepared, net: MultimodalNet, training: TrainingSet, *, reset: bool
    ) -> dict[str, Any]:
        """Fitted attributes that come of what members say of the samples that they left out."""
        plan, target, inputs = prepared.plan, prepared.target, prepared.inputs
        fitted: dict[str, Any] = {}
        stack, experts = (None, None) if reset else (self.stack_, self.experts_)
        samples = left_out(inputs, training, plan)
        if self._wants_stack():
            heads = head_names(net, inputs.infos)
            names = with_experts(heads, prepared.experts.names)
            stack, outputs, scores, found = fit_stack(net, target, training, samples, plan, prepared.experts, names)
            if stack.says_nothing():
                warn(
                    f"the stack gives each of the {len(names)} heads and experts the weight 0: none of them told "
                    "much of samples that it left out, all samples are predicted nearly alike. Their scores are in "
                    "expert_scores_; more samples, or other modalities, may tell more."
                )
            experts = prepared.experts.final()
            fitted = {
                "stack_": stack,
                "experts_": experts,
                "stack_weights_": stack.table(names, target.names),
                "expert_scores_": scores,
            }
            if self.store_oof:
                fitted["oof_heads_"] = found
        else:
            outputs = average_left_out(net, target, samples, plan)
        return {**fitted, **self._of_left_out(prepared, net, training, stack, experts, outputs)}

    def _of_left_out(
        self,
        prepared: Prepared,
        net: MultimodalNet,
        training: TrainingSet,
        stack: Stack | None,
        experts: Experts | None,
        outputs: np.ndarray,
    ) -> dict[str, Any]:
        """What the user is told of outputs (n, C) of the samples that train, by who left them out."""
        plan, target = prepared.plan, prepared.target
        place = plan.trained()
        everything, others = outputs[place], np.flatnonzero(place < 0)
        if len(others):
            said = None if experts is None else experts.said(plan.blocks[others])
            everything[others], _ = combined(net, target, stack, training.data, torch.float32, others, said)
        weights = np.where(place >= 0, plan.scored, 0.0)
        told = ~np.isnan(everything).any(axis=1)
        score = target.score(everything[told], training.target.cpu().numpy()[told], weights[told])
        return {"oof_prediction_": target.finish(everything), "oof_score_": score}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags
