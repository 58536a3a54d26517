"""Experts in the stack, estimators of scikit-learn, as modules."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import is_classifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from torch import Tensor, nn

from skmm._private import boosted
from skmm.blocks import BlockInfo
from skmm.deployment._readers import constant
from skmm.deployment._tables import Part, Tables
from skmm.deployment._trees import Nodes, Trees, nodes_of_boosting, nodes_of_tree
from skmm.estimators._experts import Experts, Trained
from skmm.estimators._targets import FLOOR, ClassTarget, LabelsTarget, Target, ValueTarget
from skmm.layers import weighted_sum

_CAN = (
    "logistic and linear regression, ridge, lasso, forests, extra trees and boosting on histograms, also one of "
    "them for each output"
)


class _Linear(nn.Module):
    """parts of width d_i -> (B, n_outputs)."""

    bias: Tensor

    def __init__(self, coef: np.ndarray, intercept: Any, widths: list[int]) -> None:
        super().__init__()
        coef = np.atleast_2d(coef)
        for i, own in enumerate(np.split(coef, np.cumsum(widths)[:-1], axis=1)):
            self.register_buffer(f"weight{i}", constant(own.T))
        self.register_buffer("bias", constant(np.broadcast_to(intercept, len(coef))))

    def forward(self, parts: list[Part]) -> Tensor:
        total = self.bias
        for i, part in enumerate(parts):
            weight = getattr(self, f"weight{i}")
            if isinstance(part, Tensor):
                total = total + part.float() @ weight
            else:
                total = total + weighted_sum(part.columns, part.weights.float(), weight)
        return total


class _Logistic(nn.Module):
    """parts -> probabilities of the classes (B, C)."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, parts: list[Part]) -> Tensor:
        scores = self.linear(parts)
        if scores.shape[1] == 1:
            scores = torch.cat([torch.zeros_like(scores), scores], 1)
        return scores.softmax(1)


def _dense(parts: list[Part], widths: list[int]) -> Tensor:
    """Parts as one dense table, float32."""
    whole: list[Tensor] = []
    for part, width in zip(parts, widths, strict=True):
        if isinstance(part, Tensor):
            whole.append(part.float())
        elif part.columns is None:
            whole.append(part.weights.float())
        else:
            weights = part.weights.float()
            empty = weights.new_zeros(weights.shape[0], width)
            whole.append(torch.scatter_add(empty, 1, part.columns, weights))
    return torch.cat(whole, 1)


class _Forest(nn.Module):
    """parts -> probabilities (B, C) or values (B, n_outputs): the mean over the trees."""

    def __init__(self, trees: list[Nodes], widths: list[int]) -> None:
        super().__init__()
        shares = [tree._replace(value=tree.value / len(trees)) for tree in trees]
        self.trees, self.widths = Trees(shares, trees[0].value.shape[1]), widths

    def forward(self, parts: list[Part]) -> Tensor:
        return self.trees(_dense(parts, self.widths))


class _Boosting(nn.Module):
    """parts -> the sum of the trees of each output, through the link: (B, C)."""

    baseline: Tensor

    def __init__(self, trees: Trees, baseline: Any, widths: list[int], link: str) -> None:
        super().__init__()
        self.trees, self.widths, self.link = trees, widths, link
        self.register_buffer("baseline", constant(np.ravel(baseline)))

    def forward(self, parts: list[Part]) -> Tensor:
        raw = self.trees(_dense(parts, self.widths)) + self.baseline
        if self.link == "logit":
            return torch.cat([(-raw).sigmoid(), raw.sigmoid()], 1)
        if self.link == "log":
            return raw.exp()
        return raw.softmax(1) if self.link == "symmetric_multinomial" else raw


class _Several(nn.Module):
    """One module for each output: of probabilities (B, 2) the second, of values (B, 1) the one, side by side."""

    def __init__(self, each: list[nn.Module], columns: list[int | None]) -> None:
        super().__init__()
        self.each, self.columns = nn.ModuleList(each), columns

    def forward(self, parts: list[Part]) -> Tensor:
        found = []
        for module, column in zip(self.each, self.columns, strict=True):
            said = module(parts)
            found.append(torch.zeros_like(said[:, 0]) if column is None else said[:, column])
        return torch.stack(found, 1)


@singledispatch
def as_module(model: Any, widths: list[int]) -> nn.Module:
    """A fitted estimator as a module: parts of a table -> probabilities (B, C) or values (B, n_outputs)."""
    raise ValueError(
        f"{type(model).__name__} has no form as tensors, which {_CAN} have. Fit with experts='auto', with some of "
        "these, or with experts=None."
    )


@as_module.register(LogisticRegression)
def _(model: Any, widths: list[int]) -> nn.Module:
    return _Logistic(_Linear(model.coef_, model.intercept_, widths))


@as_module.register(Ridge)
@as_module.register(LinearRegression)
@as_module.register(Lasso)
@as_module.register(ElasticNet)
def _(model: Any, widths: list[int]) -> nn.Module:
    return _Linear(model.coef_, model.intercept_, widths)


@as_module.register(ExtraTreesClassifier)
@as_module.register(RandomForestClassifier)
@as_module.register(ExtraTreesRegressor)
@as_module.register(RandomForestRegressor)
def _(model: Any, widths: list[int]) -> nn.Module:
    nodes = [nodes_of_tree(tree.tree_) for tree in model.estimators_]
    if is_classifier(model) and model.n_outputs_ > 1:  # shares of the classes of each output: that of 1 is wanted
        columns = _of_ones(model.classes_)
        each = [tree._replace(value=_shares(tree.value, columns)) for tree in nodes]
        return _Forest(each, widths)
    return _Forest(nodes, widths)


def _of_ones(classes: Any) -> list[int | None]:
    """Where the class 1 stands among those of each output; None where it was never there."""
    places = [np.flatnonzero(np.asarray(own) == 1) for own in classes]
    return [int(place[0]) if len(place) else None for place in places]


def _shares(value: np.ndarray, columns: list[int | None]) -> np.ndarray:
    """One column for each output: (n_nodes, n_outputs * most) -> (n_nodes, n_outputs)."""
    each = value.reshape(len(value), len(columns), -1)
    found = [np.zeros(len(value)) if c is None else each[:, o, c] for o, c in enumerate(columns)]
    return np.column_stack(found)


@as_module.register(HistGradientBoostingClassifier)
@as_module.register(HistGradientBoostingRegressor)
def _(model: Any, widths: list[int]) -> nn.Module:
    if model.is_categorical_ is not None:
        raise ValueError(f"{type(model).__name__} with categorical features has no form as tensors.")
    rounds, baseline, link = boosted(model)
    names = {"LogitLink": "logit", "MultinomialLogit": "symmetric_multinomial", "LogLink": "log"}
    trees = Trees([nodes_of_boosting(nodes) for group in rounds for nodes in group], len(rounds[0]))
    return _Boosting(trees, baseline, widths, names.get(type(link).__name__, "identity"))


@as_module.register(MultiOutputClassifier)
@as_module.register(MultiOutputRegressor)
def _(model: Any, widths: list[int]) -> nn.Module:
    columns: list[int | None] = [0] * len(model.estimators_)
    if is_classifier(model):
        columns = _of_ones(model.classes_)
    return _Several([as_module(own, widths) for own in model.estimators_], columns)


class _Said(nn.Module):
    """What an estimator says, as outputs of a head: parts -> (B, C) float64."""

    def __init__(self, module: nn.Module, trained: Trained, target: Target) -> None:
        super().__init__()
        self.module, self.kind, self.standard = module, type(target), not trained.choice.required
        if isinstance(target, ClassTarget):
            # of a class that it never saw it says that it cannot be
            places = np.searchsorted(target.classes, trained.model.classes_)
            chosen = np.zeros((len(places), target.n_outputs))
            chosen[np.arange(len(places)), places] = 1.0
            self.register_buffer("chosen", constant(chosen, torch.float64))
        elif isinstance(target, ValueTarget) and not self.standard:
            self.register_buffer("mean", constant(target.mean, torch.float64))
            self.register_buffer("deviation", constant(target.deviation, torch.float64))

    def forward(self, parts: list[Part]) -> Tensor:
        said = self.module(parts).double()
        if self.kind is ClassTarget:
            return (said @ self.chosen).clamp(min=float(np.exp(FLOOR))).log()
        if self.kind is LabelsTarget:
            p = said.clamp(float(expit(FLOOR)), float(expit(-FLOOR)))
            return p.log() - (1 - p).log()
        return said if self.standard else (said - self.mean) / self.deviation


class ExpertModules(nn.Module):
    """All experts.

    Shape
    -----
    values and present per modality -> outputs (B, E, C), and which expert says something (B, E)
    """

    def __init__(self, experts: Experts, infos: dict[str, BlockInfo], target: Target) -> None:
        super().__init__()
        self.choices = [trained.choice for trained in experts.trained]
        self.tables = Tables(experts.form, infos, kernels=any(c.form == "kernels" for c in self.choices))
        self.each = nn.ModuleList()
        for trained in experts.trained:
            widths = [self._width(experts, name, trained.choice.form) for name in trained.choice.modalities]
            try:
                module = as_module(trained.model, widths)
            except ValueError as error:
                raise ValueError(f"expert {trained.choice.name!r}: {error}") from None
            self.each.append(_Said(module, trained, target))

    @staticmethod
    def _width(experts: Experts, name: str, form: str) -> int:
        if form == "dense" and name in experts.form.projections:
            return experts.form.projections[name].matrix.shape[1]
        if form == "kernels" and name in experts.form.kernels:
            return experts.form.kernels[name].n_features
        return experts.form.widths[name]

    def forward(self, values: dict[str, Any], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        raw = self.tables(values, present)
        outputs, exists = [], []
        for choice, module in zip(self.choices, self.each, strict=True):
            outputs.append(module(self.tables.parts(raw, choice.modalities, choice.form)))
            exists.append(self.tables.exists(present, choice.modalities))
        return torch.stack(outputs, 1), torch.stack(exists, 1)
