"""Linear models and trees as baselines on Blocks, built of scikit-learn's own parts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import type_of_target

from skmm.blocks import Blocks
from skmm.blocks._given import as_blocks
from skmm.compose._table import columns_of, dense_table

_CLASSIFICATION = ("binary", "multiclass", "multilabel-indicator")
_MANY = 500  # samples, of which a tenth can say when to stop
_FEW = 15  # samples of each class, so that a tenth of the rows, even of a fold, can hold one of each
_REGRESSION = ("continuous", "continuous-multioutput", "binary", "multiclass", "multiclass-multioutput")


def make_baselines(
    X: Blocks | Mapping[str, Any],
    y: Any,
    *,
    regression: bool | None = None,
    tune: bool = True,
    groups: Any = None,
    random_state: Any = None,
) -> dict[str, BaseEstimator]:
    """Baselines that any deep fusion should beat, built of scikit-learn's own parts.

    For the linear ones every modality is read by a :class:`ModalitySelector`; dense ones get their gaps filled with
    column means and are standardised, sparse ones keep their scale, token ids become TF-IDF; missing rows of the
    last two are empty. On these features stand logistic regressions (LR) or, for regression, ridge regressions
    (their names begin with ridge):

    - ``"LR concat"``: one model on all modalities side by side (early fusion);
    - ``"LR <modality>"``: one model per modality;
    - ``"late mean"``: the mean of the single-modality models' probabilities (or values);
    - ``"stacked"``: a model on the single-modality models' 5-fold out-of-fold probabilities (or values).

    The last two need several modalities and a single target: they are left out for one modality and, since
    scikit-learn's voting takes no such target, for multilabel and multi-output ``y``.

    Trees read all modalities side by side: summaries of sequences, images and videos (``ModalitySelector(form=
    "summary")``; of sequences of up to 64 channels also the means over each quarter of their time), a truncated SVD
    of 64 components of what is sparse or TF-IDF, and NaN where a dense row is missing:

    - ``"boosting"``: histogram gradient boosting;
    - ``"trees"``: 200 extra trees.

    Parameters
    ----------
    X : Blocks or dict of arrays
        Says which modalities there are and which are sparse. Nothing is fitted to it.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Says whether to classify and whether there are several targets.
    regression : bool, optional
        Whether ``y`` holds values rather than classes. By default its type decides: integers are classes.
    tune : bool, default=True
        Choose each linear model's penalty out of five by an inner 3-fold cross-validation, for the best
        log-likelihood (for multilabel ``y`` the micro-averaged F1, for regression R²); else keep C = 1, alpha = 1.
    groups : array-like of shape (n_samples,), optional
        Group of each sample. The folds of ``"stacked"`` are then fixed and keep groups whole, so that it can only
        be fitted to these samples, in this order. The tuning does not see groups.
    random_state : int, RandomState instance or None, default=None
        Shuffles the inner folds, and seeds the trees.

    Returns
    -------
    dict of str to estimator
        Unfitted; each takes Blocks. ``score`` of a tuned one is what the tuning measures: name the ``scoring``.

    Raises
    ------
    ValueError
        If ``y`` is neither classes, a 0/1 matrix of labels, nor numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks
    >>> from skmm.model_selection import make_baselines
    >>> rng = np.random.default_rng(0)
    >>> X = Blocks(text=rng.normal(size=(60, 3)), image=rng.normal(size=(60, 4)))
    >>> y = (X["text"][:, 0] + X["image"][:, 0] > 0).astype(int)
    >>> models = make_baselines(X, y, random_state=0)
    >>> list(models)
    ['LR concat', 'LR text', 'LR image', 'late mean', 'stacked', 'boosting', 'trees']
    >>> print(models["LR concat"].fit(X, y).predict(X[:4]), y[:4])
    [0 0 1 0] [0 0 1 0]
    """
    blocks = as_blocks(X, reset=True)
    regression, one_target = check_task(y, regression)
    linear = _linear(blocks, y, regression, one_target, tune, groups, random_state)
    return linear | _trees(blocks, y, regression, one_target, random_state)


def _linear(
    blocks: Blocks, y: Any, regression: bool, one_target: bool, tune: bool, groups: Any, random_state: Any
) -> dict[str, BaseEstimator]:
    # they bring trees and neighbours, which nothing else of skmm needs
    from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
    from sklearn.impute import SimpleImputer

    stratified = one_target and not regression
    folds = partial(StratifiedKFold if stratified else KFold, shuffle=True, random_state=random_state)

    def features(name: str, kind: str) -> list[Any]:
        scaled = kind in ("sparse", "tokens")
        return columns_of(name, kind) + (
            [] if scaled else [SimpleImputer(keep_empty_features=True), StandardScaler()]
        )

    def linear() -> Any:
        scoring: Any = None
        if regression:
            model, grid = Ridge(), {"alpha": np.logspace(-1, 3, 5)}
        elif one_target:
            model, grid, scoring = logistic, {"C": np.logspace(-2, 2, 5)}, _log_likelihood
        else:
            model, grid = OneVsRestClassifier(logistic), {"estimator__C": np.logspace(-2, 2, 5)}
            scoring = make_scorer(f1_score, average="micro", zero_division=0)
        return GridSearchCV(model, grid, cv=folds(3), scoring=scoring) if tune else model

    # many steps: a weak penalty on classes that a plane separates converges slowly
    logistic = LogisticRegression(max_iter=10_000)
    short = "ridge" if regression else "LR"
    kinds = blocks.kinds.items()
    single = {f"{short} {name}": make_pipeline(*features(name, kind), linear()) for name, kind in kinds}
    if len(single) == 1:
        return single
    # scikit-learn forbids some names here ("__", "n_jobs"), and a modality's name can be any string
    union = FeatureUnion([(f"modality{i}", make_pipeline(*features(*item))) for i, item in enumerate(kinds)])
    found = {f"{short} concat": make_pipeline(union, linear()), **single}
    if one_target:
        parts = [(f"modality{i}", model) for i, model in enumerate(single.values())]
        cv: Any = folds(5)
        if groups is not None:
            grouped = StratifiedGroupKFold if stratified else GroupKFold
            n_folds = min(5, len(np.unique(groups)))
            cv = list(grouped(n_folds, shuffle=True, random_state=random_state).split(y, y, groups))
        if regression:
            found["late mean"] = VotingRegressor(parts)
            found["stacked"] = StackingRegressor(parts, linear(), cv=cv)
        else:
            found["late mean"] = VotingClassifier(parts, voting="soft")
            found["stacked"] = StackingClassifier(parts, linear(), cv=cv, stack_method="predict_proba")
    return found


def _trees(
    blocks: Blocks, y: Any, regression: bool, one_target: bool, random_state: Any
) -> dict[str, BaseEstimator]:
    """Boosting and extra trees of sizes that take seconds on a few thousand rows of some hundred columns."""
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    n_scores, rarest = _counts(y, regression, one_target)
    # with a held-out tenth, in which boosting needs every class, its probabilities are not far too sure
    stops = len(blocks) >= _MANY and rarest >= _FEW
    boosting = (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(
        # each iteration grows a tree per class: of many classes there are fewer
        max_iter=int(np.clip(2000 // n_scores, 20, 200 if stops else 50)),
        early_stopping=stops,
        max_leaf_nodes=15 if len(blocks) < 5000 else 31,
        max_features=0.3,
        random_state=random_state,
    )
    trees = (ExtraTreesRegressor if regression else ExtraTreesClassifier)(
        200,
        max_features=0.3,  # more than the default: of many columns few tell anything
        min_samples_leaf=max(1, len(blocks) // 5000),  # else the size of a tree grows with the rows
        random_state=random_state,
    )
    models = {"boosting": boosting, "trees": trees}
    if not one_target:
        each = MultiOutputRegressor if regression else OneVsRestClassifier
        models = {name: each(model) for name, model in models.items()}
    return {name: make_pipeline(dense_table(blocks, blocks, random_state), model) for name, model in models.items()}


def _counts(y: Any, regression: bool, one_target: bool) -> tuple[int, int]:
    """How many scores a sample gets, and how many samples the rarest class or label has, present or absent."""
    n_samples = y.shape[0] if sp.issparse(y) else len(y)
    if one_target and not regression:
        counts = np.unique(y, return_counts=True)[1]
        return len(counts) if len(counts) > 2 else 1, int(counts.min())
    if one_target:
        return 1, n_samples
    Y = y if sp.issparse(y) else np.asarray(y)
    if regression:
        return Y.shape[1], n_samples
    ones = np.asarray(Y.sum(axis=0)).ravel()
    return Y.shape[1], int(np.minimum(ones, n_samples - ones).min())


def _log_likelihood(model: Any, X: Any, y: Any) -> float:
    """Mean log-probability of the true classes; one that the model never saw has probability zero.

    The scorer "neg_log_loss" fails where a fold lacks a class, and accuracy is too coarse to choose a penalty.
    """
    own = model.predict_proba(X) * (np.asarray(y)[:, None] == model.classes_)
    return float(np.log(own.sum(axis=1).clip(1e-15)).mean())


def check_task(y: Any, regression: bool | None) -> tuple[bool, bool]:
    """Whether to regress, and whether there is one target."""
    target = type_of_target(y, input_name="y")
    if regression is None:
        regression = target.startswith("continuous")
    valid = _REGRESSION if regression else _CLASSIFICATION
    if target not in valid:
        raise ValueError(f"y is {target!r}, {'regression' if regression else 'classification'} takes {valid}.")
    return regression, not target.endswith(("indicator", "multioutput"))
