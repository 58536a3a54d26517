"""A fitted estimator that is being pruned: its parts, and what the samples say of them that they left out."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from skmm.estimators._experts import Experts, with_experts
from skmm.estimators._heads import head_names
from skmm.estimators._prepared import Opened
from skmm.estimators._stack import Stack
from skmm.estimators._stacking import (
    HeadOutputs,
    LeftOut,
    average_left_out,
    fit_stack,
    left_out,
    losses_of,
    mean_loss,
    stack_of,
)
from skmm.estimators._targets import Target, exact
from skmm.table import Table
from skmm.training._net import MultimodalNet


@dataclass(frozen=True)
class State:
    """A fitted estimator in parts, of which a step of pruning changes some; nothing in them is changed in place.

    Attributes
    ----------
    estimator : MultimodalEstimator
        As it was fitted.
    opened : Opened
        What its fit had open.
    net : MultimodalNet
        The networks.
    stack : Stack or None
        What combines their heads and the experts.
    experts : Experts or None
        They.
    found : HeadOutputs or None
        Out-of-fold outputs of what the stack combines.
    scores : Table or None
        Score of each head alone.
    loss : float or None
        Out-of-fold loss; None where no member left samples out.
    losses : ndarray of shape (n_train,) or None
        The same of each sample, NaN of those that none left out.
    outputs : ndarray of shape (n_train, C) or None
        Out-of-fold outputs of the whole; None for those of the fit.
    stacked : ndarray of shape (n_train, C) or None
        The same, of the fit too; None where no member left samples out, or there is no stack.
    """

    estimator: Any
    opened: Opened
    net: MultimodalNet
    stack: Stack | None
    experts: Experts | None
    found: HeadOutputs | None
    scores: Table | None
    loss: float | None
    losses: np.ndarray | None = None
    outputs: np.ndarray | None = None
    stacked: np.ndarray | None = None

    @classmethod
    def of(cls, estimator: Any, opened: Opened) -> State:
        """A fitted estimator, and what its fit had open."""
        found: HeadOutputs | None = getattr(estimator, "oof_heads_", None)
        scores = getattr(estimator, "expert_scores_", None)
        parts = estimator.stack_, estimator.experts_, found, scores
        state = cls(estimator, opened, estimator.net_, *parts, None)
        if not opened.prepared.plan.blind:
            return state
        if estimator.stack_ is None or found is None:
            return state.measured(estimator.net_)
        return state.judged(stack_of(state.target, found)[1], found)

    def judged(self, told: np.ndarray, found: HeadOutputs) -> State:
        """With the loss of what a stack tells, (n, C), of the samples that it is fitted to."""
        at = self.opened.prepared.plan.folds.told()
        losses = np.full(len(self.opened.prepared.plan.train), np.nan)
        losses[at] = losses_of(self.target, told, found)[: len(at)]
        outputs = np.full((len(losses), told.shape[1]), np.nan)
        outputs[at] = told[: len(at)]
        return replace(self, loss=mean_loss(self.target, told, found), losses=losses, stacked=outputs)

    def rise_if_right(self, other: State) -> float:
        """By how much the loss of another state of the same samples is higher, if what this one says is the truth.

        Of probabilities the mean divergence of Kullback and Leibler.
        """
        assert self.stacked is not None
        assert other.stacked is not None
        at = self.opened.prepared.plan.folds.told()
        own, others = self.stacked[at], other.stacked[at]
        target, encoded = self.target.softened(self.target.finish(own))
        truth = exact(torch.from_numpy(target.tensor(encoded)))
        _, weights = self.told(at)
        rise = target.loss(torch.from_numpy(others), truth) - target.loss(torch.from_numpy(own), truth)
        return float(np.average(rise.numpy(), weights=weights))

    def sample_losses(self) -> np.ndarray | None:
        """Loss of each sample that was given, (n_samples,), NaN where it is not known."""
        if self.losses is None:
            return None
        place = self.opened.prepared.plan.trained()
        return np.where(place >= 0, self.losses[place], np.nan)

    @property
    def target(self) -> Target:
        return self.opened.prepared.target

    @property
    def samples(self) -> LeftOut:
        """The samples that some member left out."""
        prepared, training = self.opened
        return left_out(prepared.inputs, training, prepared.plan)

    @property
    def n_members(self) -> int:
        return self.net.module_.n_members

    @property
    def heads(self) -> list[str]:
        """Names of the heads of the network and of the experts."""
        names = head_names(self.net, self.opened.prepared.inputs.infos)
        return with_experts(names, [] if self.experts is None else self.experts.names)

    def n_parameters(self, members: list[int]) -> int:
        """Weights of these members' networks, without those that are zero."""
        every = self.n_members == 1
        return sum(int((p if every else p[members]).count_nonzero()) for p in self.net.module_.parameters())

    def measured(self, net: MultimodalNet) -> State:
        """With other networks of the same heads, and a stack of what these say of samples that they left out."""
        prepared, training = self.opened
        plan, target = prepared.plan, prepared.target
        state = replace(self, net=net)
        if not plan.blind:
            return state
        samples = self.samples
        if not self.estimator._wants_stack():
            outputs = average_left_out(net, target, samples, plan)
            return state.averaged(outputs)
        fit = fit_stack(net, target, training, samples, plan, prepared.experts, self.heads)
        told = fit.outputs[samples.at]
        if len(fit.found.rows) > len(told):  # they come a second time, with modalities hidden
            told = stack_of(target, fit.found)[1]
        state = replace(state, stack=fit.stack, found=fit.found, scores=fit.scores).judged(told, fit.found)
        return replace(state, outputs=state.stacked)

    def averaged(self, outputs: np.ndarray) -> State:
        """With the members' average, outputs (n_train, C), and its loss, where there is no stack."""
        at = self.opened.prepared.plan.folds.told()
        encoded, weights = self.told(at)
        losses = np.full(len(outputs), np.nan)
        losses[at] = self.target.loss(torch.from_numpy(outputs[at]), encoded).numpy()
        return replace(self, outputs=outputs, losses=losses, loss=float(np.average(losses[at], weights=weights)))

    def told(self, at: np.ndarray) -> tuple[Any, np.ndarray]:
        """Targets, as the loss reads them, and weights of some of the samples that train."""
        prepared, training = self.opened
        rows = prepared.plan.rows[prepared.plan.train][at]
        return exact(training.target.cpu()[rows]), prepared.plan.weights[prepared.plan.train][at]

    def rebuilt(self, networks: list[Any], made_of: dict[str, Any] | None = None, **changed: Any) -> MultimodalNet:
        """A net of other networks."""
        return self.net.with_networks(networks, {**self.net.made_of_, **(made_of or {})}, **changed)

    def members(self) -> list[Any]:
        """A copy of each member's network."""
        return [self.net.module_.member(k) for k in range(self.n_members)]

    def finished(self) -> Any:
        """The estimator of these parts."""
        estimator = copy.copy(self.estimator)
        target, plan = self.target, self.opened.prepared.plan
        estimator.n_members = self.n_members
        if (width := self.net.made_of_["inherited"]["hidden_dim"]) != self.estimator.net_.made_of_["inherited"][
            "hidden_dim"
        ]:
            estimator.hidden_dim = width
        if self.n_members == 1 and estimator.stack is True:
            estimator.stack = "auto"  # what it is fitted with, and one member leaves nothing out
        fusion = self.net.module_.network.fusion
        fitted: dict[str, Any] = {"stack_": self.stack, "experts_": self.experts, "_seen": None}
        if fusion is not None:
            fitted["_n_features_out"] = self.n_members * fusion.out_dim
        if self.outputs is not None:
            fitted |= estimator._of_left_out(
                self.opened.prepared, self.net, self.opened.training, self.stack, self.experts, self.outputs
            )
        if self.stack is not None and plan.blind:
            fitted |= {
                "stack_weights_": self.stack.table(self.heads, target.names),
                "expert_scores_": self.scores,
            }
            if estimator.store_oof:
                fitted["oof_heads_"] = self.found
        estimator._assign(fitted, self.net, forget=["oof_heads_"])
        return estimator
