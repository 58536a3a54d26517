"""Which experts ``experts="auto"`` takes."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor

from skmm.estimators._flat import FlatForm
from skmm.estimators._targets import ClassTarget, LabelsTarget, Target, ValueTarget

# Rows below which there are none: an expert learns little of a handful, and the stack of many heads less.
FEWEST = 100
# Rows from which boosting on histograms takes the place of trees to the last leaf, whose size grows with the rows.
_MANY = 10_000
_TREES = 60  # with 100 the loss was lower by a hundredth, for two thirds more time
_BINS = 64  # of a feature that boosting parts: a third of the time of 255, at the same loss
_FEATURES = 100  # of many that trees of values choose among at a split, else of a third
# Numbers (rows x columns x outputs) above which a linear model takes longer than the network.
_MOST_LINEAR = 2e9
# Columns x trees of a round that boosting may have where rows are many. It looks at all borders of all columns
# whatever the rows, which costs as much as so many rows do: where these are few it may have fewer columns.
_BOOSTED = 1_000
_BORDERS = 10_000
_PENALTIES = (0.03, 0.3, 3.0)  # C of logistic regression
_ALPHAS = (1.0, 30.0, 1000.0)  # of ridge regression


class Choice(NamedTuple):
    """An expert.

    Attributes
    ----------
    name : str
        Of its head.
    settings : tuple of estimators
        It, unfitted, or several of which out-of-fold loss chooses.
    modalities : tuple of str
        What it reads side by side.
    form : {"raw", "scaled", "dense", "kernels"}
        The tables that it reads.
    required : bool
        Whether the user named it, so that its errors are the user's to know.
    """

    name: str
    settings: tuple[Any, ...]
    modalities: tuple[str, ...]
    form: str
    required: bool = False


def auto_experts(target: Target, form: FlatForm, n_samples: int) -> list[Choice]:
    """Linear models and trees on each modality and on all, where the samples allow it.

    Of sequences they read statistics, and linear models random convolutions, too. By counts alone, never by the
    clock: the same samples always have the same experts.
    """
    widths, sparse, kernels = form.widths, set(form.projections), form.kernels
    readable: list[tuple[str, ...]] = [(name,) for name in widths]
    if len(widths) > 1:
        readable.append(tuple(widths))
    found = []
    for names in readable:
        label = "" if len(names) > 1 or len(widths) == 1 else f" {names[0]}"
        n_numbers = n_samples * sum(widths[name] for name in names if name not in sparse)
        if n_numbers * target.n_outputs <= _MOST_LINEAR:
            found.append(Choice(f"linear{label}", _linear(target), names, "scaled"))
        n_columns = sum(min(64, widths[name]) if name in sparse else widths[name] for name in names)
        boosted = n_columns * _trees_per_round(target) * (n_samples + _BORDERS) <= _BOOSTED * max(n_samples, 1_000)
        if n_samples < _MANY:
            found.append(Choice(f"trees{label}", (_trees(target, n_columns),), names, "dense"))
        if boosted and (n_samples >= _MANY or (_trees_per_round(target) == 1 and not label)):
            found.append(Choice(f"boosting{label}", (_boosting(target),), names, "dense"))
        n_features = sum(kernels[name].n_features for name in names if name in kernels)
        if n_features and n_samples * n_features * target.n_outputs <= _MOST_LINEAR:
            found.append(Choice(f"kernels{label}", _linear(target), names, "kernels"))
    return found


class _Forest:
    """What scikit-learn's forest of trees says, to the last bit, without the workers that it starts for its trees.

    Of a single row these take twenty times as long as the trees.
    """

    def __init__(self, forest: Any) -> None:
        self.forest, self.classes_ = forest, getattr(forest, "classes_", None)

    def _mean(self, X: np.ndarray) -> np.ndarray:
        """Mean over the trees: (n, outputs, 1), or (n, outputs, classes)."""
        X = np.ascontiguousarray(X, dtype=np.float32)
        trees = self.forest.estimators_
        total = trees[0].tree_.predict(X)
        for tree in trees[1:]:
            total += tree.tree_.predict(X)
        return (total / len(trees)).reshape(len(X), self.forest.n_outputs_, -1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Values (n, outputs)."""
        return self._mean(X)[:, :, 0]

    def predict_proba(self, X: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Probabilities (n, classes), of several outputs those of each."""
        mean, forest = self._mean(X), self.forest
        if forest.n_outputs_ == 1:
            return mean[:, 0]
        return [mean[:, i, :n] for i, n in enumerate(forest.n_classes_)]


def asked_at_once(model: Any) -> Any:
    """An expert of :func:`auto_experts` in the form in which it answers fastest."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    return _Forest(model) if isinstance(model, (ExtraTreesClassifier, ExtraTreesRegressor)) else model


# -- by what is predicted -----------------------------------------------------------------------------------------


@singledispatch
def _linear(target: Target) -> tuple[Any, ...]:
    """Linear models of several penalties."""
    raise TypeError(f"{type(target).__name__} has no linear models.")


@_linear.register
def _(target: ClassTarget) -> tuple[Any, ...]:
    return tuple(LogisticRegression(C=C, max_iter=200, tol=1e-3) for C in _PENALTIES)


@_linear.register
def _(target: LabelsTarget) -> tuple[Any, ...]:
    return tuple(MultiOutputClassifier(LogisticRegression(C=C, max_iter=200, tol=1e-3)) for C in _PENALTIES)


@_linear.register
def _(target: ValueTarget) -> tuple[Any, ...]:
    return tuple(Ridge(alpha) for alpha in _ALPHAS)


def _trees(target: Target, n_columns: int) -> Any:
    """Extremely randomised trees (Geurts et al. 2006)."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    if isinstance(target, ValueTarget):
        return ExtraTreesRegressor(_TREES, min_samples_leaf=2, max_features=min(1 / 3, _FEATURES / n_columns))
    return ExtraTreesClassifier(_TREES)


def _trees_per_round(target: Target) -> int:
    """Trees that boosting adds at a time."""
    return 1 if target.competing and target.n_outputs == 2 else target.n_outputs


@singledispatch
def _boosting(target: Target) -> Any:
    """Gradient boosting on histograms (Ke et al. 2017), which reads gaps as they are."""
    raise TypeError(f"{type(target).__name__} cannot be boosted.")


@_boosting.register
def _(target: ClassTarget) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_bins=_BINS, early_stopping=False)


@_boosting.register
def _(target: LabelsTarget) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return MultiOutputClassifier(HistGradientBoostingClassifier(max_bins=_BINS, early_stopping=False))


@_boosting.register
def _(target: ValueTarget) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(max_bins=_BINS, early_stopping=False)
    return model if target.n_outputs == 1 else MultiOutputRegressor(model)
