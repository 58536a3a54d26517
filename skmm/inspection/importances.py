"""What of its input a fitted estimator relies on: of a score, and of one prediction."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, check_random_state, check_scalar

from skmm._checks import unknown
from skmm._private import num_samples, safe_indexing
from skmm._warnings import warn
from skmm.estimators._base import MultimodalEstimator
from skmm.inspection._answers import Answers, Names, Removal, label
from skmm.inspection._games import MOST_EXACT, interactions, sampled_shapley_values, shapley_values
from skmm.inspection._inside import inside, last_step
from skmm.table import Table

METHODS = ("shapley", "removal", "permutation")
LEVELS = ("modality", "column")


def modality_importances(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    method: str = "shapley",
    scoring: Any = None,
    modalities: Sequence[Names] | None = None,
    level: str = "modality",
    retrain: bool = False,
    cv: Any = None,
    groups: Any = None,
    n_permutations: int = 100,
    n_repeats: int = 5,
    n_bootstrap: int = 200,
    confidence: float = 0.95,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> Bunch:
    """How much of a score each modality of a fitted estimator makes.

    A modality is taken away by marking it as missing, which costs a prediction and no training.

    Parameters
    ----------
    estimator : fitted estimator
        A multimodal estimator or any other that reads Blocks with missing rows, or a pipeline with one. Of other
        pipelines that read a table, ``level="column"`` with ``method="permutation"`` works.
    X : Blocks, dict of arrays, or whatever ``estimator`` takes
        Samples to score on, as a rule such as were not learned from.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    method : {"shapley", "removal", "permutation"}, default="shapley"
        "shapley": the gain when a modality comes to a set of others, averaged over the orders in which they may
        come. Their sum is what all give above none. "removal": the loss when it is taken from all: 0 for each of
        two that say the same. "permutation": the loss when samples swap it with each other, which needs no
        estimator that knows what is missing.
    scoring : str or callable, optional
        Metric, such as "neg_log_loss", which sees more than accuracy does. Default: accuracy of classifiers, R2 of
        regressors. A callable is given an estimator that repeats what it said, numbers of rows in the place of X,
        and y.
    modalities : sequence of str or tuple of str, optional
        Between which the score is shared; the names in a tuple come and go together, what is not named stays.
        Default: every modality by itself. With ``level="column"``, columns.
    level : {"modality", "column"}, default="modality"
        Whether modalities are taken away, behind all preprocessing, or columns of the table X, before it.
    retrain : bool, default=False
        Whether each set of modalities gets clones of the estimator that were fitted to nothing else, which say of
        each fold of X what they learned of the others: what the data hold, not what this estimator uses. Costs
        ``cv`` fits for each set.
    cv : int, splitter or iterable, optional
        Folds of ``retrain``. Default: 5.
    groups : array-like of shape (n_samples,), optional
        Groups that no fold, and no draw of the intervals, divides.
    n_permutations : int, default=100
        Orders that are drawn where there are more than 10 modalities, whose sets are too many to look at all.
    n_repeats : int, default=5
        Shuffles of ``method="permutation"``.
    n_bootstrap : int, default=200
        Draws of the samples, with replacement, from which the intervals come; 0 for none. Draws that have no score,
        such as those without a rare class, are left out.
    confidence : float, default=0.95
        Of the intervals: how often such an interval holds the importance over all samples of this kind, the fitted
        estimator taken as it is.
    random_state : int, RandomState instance or None, default=None
        Seed of orders, shuffles and draws.
    n_jobs : int, optional
        Number of sets predicted at once.

    Returns
    -------
    result : Bunch
        With the attributes

        modalities : list of str or tuple
            What the arrays are of.
        importances : ndarray of shape (n_modalities,)
            In units of the score.
        low, high : ndarray of shape (n_modalities,)
            Intervals, by percentiles; NaN with ``n_bootstrap=0``.
        standard_errors : ndarray of shape (n_modalities,)
            Of the draw of orders, or shuffles; 0 where all were looked at.
        alone : ndarray of shape (n_modalities,)
            Gain of each above nothing, without the others.
        interactions : ndarray of shape (n_modalities, n_modalities) or None
            Gain of two together beyond what each gives without the other (Shapley interaction index): above 0 they
            complete each other, below 0 they say the same. Of exact "shapley" alone.
        score, baseline : float
            With all, and with none.
        scores : dict of tuple of str to float
            Of each set that was looked at, by the names in it.
        table : Table
            Importances, intervals and gains, the largest first.

    Raises
    ------
    ValueError
        If a modality or method is unknown or named twice, X cannot lose what is to be taken away, y is missing, has
        other classes or another length, or a score is not finite on some set.

    Warns
    -----
    UserWarning
        If the estimator was trained without ``modality_dropout``: it never saw samples such as it is then asked
        about.

    References
    ----------
    Shapley 1953, A value for n-person games; Covert, Lundberg and Lee 2020, Understanding global feature
    contributions with additive importance measures, for shares of a score; Grabisch and Roubens 1999, An axiomatic
    approach to the concept of interaction among players in cooperative games; Breiman 2001, Random forests, for
    permutations.

    Examples
    --------
    >>> from skmm import MultimodalClassifier
    >>> from skmm.datasets import make_multimodal_classification
    >>> from skmm.inspection import modality_importances
    >>> X, y = make_multimodal_classification(400, redundant=0, unique=[0.9, 0.1], synergistic=0, random_state=0)
    >>> clf = MultimodalClassifier(n_members=2, experts=None, modality_dropout=0.3, random_state=0)
    >>> clf = clf.fit(X[:200], y[:200])
    >>> found = modality_importances(clf, X[200:], y[200:], random_state=0)
    >>> found.table["modality"]
    ['modality_0', 'modality_1']
    >>> bool(abs(found.importances.sum() - (found.score - found.baseline)) < 1e-12)
    True
    """
    check_scalar(retrain, "retrain", bool)
    _check(y, method, level, n_bootstrap, confidence, n_permutations, n_repeats)
    if method == "permutation" and retrain:
        raise ValueError("retrain=True fits sets of modalities anew, which method='permutation' has none of.")
    removal = _removal(estimator, X, modalities, level, method)
    _check_target(y, removal)
    rng = check_random_state(random_state)
    refit = None
    if retrain:
        splitter = check_cv(5 if cv is None else cv, y, classifier=is_classifier(removal.model))
        refit = {"y": np.asarray(y), "cv": splitter, "groups": groups}
    elif method != "permutation":
        _warn_of_unseen(removal.model)
    scores = _Scores(removal, np.asarray(y), scoring, refit, n_jobs)
    draws = _draws(removal.n_samples, groups, n_bootstrap, rng)
    if method == "shapley" and removal.n_names <= MOST_EXACT:
        found = _exact(scores, draws)
    elif method == "shapley":
        found = _sampled(scores, draws, n_permutations, rng)
    elif method == "removal":
        found = _removed(scores, draws)
    else:
        found = _shuffled(scores, draws, n_repeats, rng)
    return _result(scores, found, confidence, removal, baseline=method != "permutation")


def modality_contributions(
    estimator: Any,
    X: Any,
    *,
    modalities: Sequence[Names] | None = None,
    level: str = "modality",
    n_jobs: int | None = None,
) -> Bunch:
    """What each modality of a sample adds to its prediction, from what is predicted of a sample without any.

    Shapley values of the probabilities, or of the predicted values, over all sets of modalities. A modality that a
    sample lacks adds nothing.

    Parameters
    ----------
    estimator : fitted estimator
        As in :func:`modality_importances`.
    X : Blocks, dict of arrays, or whatever ``estimator`` takes
        Samples.
    modalities, level, n_jobs
        As in :func:`modality_importances`; at most 10 names.

    Returns
    -------
    result : Bunch
        With the attributes

        modalities : list of str or tuple
            What is added up.
        contributions : ndarray of shape (n_samples, n_modalities, n_outputs)
            Of each modality to each class's probability, or label's, or value.
        base : ndarray of shape (n_samples, n_outputs)
            Prediction without any of the modalities.
        predictions : ndarray of shape (n_samples, n_outputs)
            Prediction with all; ``base`` and the contributions add up to it.
        outputs : list
            Classes, or numbers of the outputs.

    Raises
    ------
    ValueError
        If a modality is unknown or named twice, there are more than 10, X cannot lose them, or a classifier has no
        probabilities.

    References
    ----------
    Štrumbelj and Kononenko 2014, Explaining prediction models and individual predictions with feature
    contributions.

    Examples
    --------
    >>> from skmm import MultimodalClassifier
    >>> from skmm.datasets import make_multimodal_classification
    >>> from skmm.inspection import modality_contributions
    >>> X, y = make_multimodal_classification(200, redundant=0, unique=[0.9, 0.1], synergistic=0, random_state=0)
    >>> clf = MultimodalClassifier(n_members=2, experts=None, modality_dropout=0.3, random_state=0).fit(X, y)
    >>> found = modality_contributions(clf, X[:3])
    >>> found.contributions.shape
    (3, 2, 2)
    >>> bool(abs(found.base + found.contributions.sum(axis=1) - clf.predict_proba(X[:3])).max() < 1e-6)
    True
    """
    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    removal = _removal(estimator, X, modalities, level, "shapley")
    if removal.n_names > MOST_EXACT:
        raise ValueError(
            f"{removal.n_names} names have 2**{removal.n_names} sets, and contributions look at all of them; "
            f"at most {MOST_EXACT} can be: join some in tuples, modalities=[('a', 'b'), 'c'], or name fewer."
        )
    _warn_of_unseen(removal.model)
    ask = "predict_proba" if hasattr(removal.model, "predict_proba") else "predict"
    if ask == "predict" and is_classifier(removal.model):
        raise ValueError(
            f"{type(removal.model).__name__} has no predict_proba, and labels cannot be shared out; wrap it in "
            "CalibratedClassifierCV, or choose an estimator with probabilities."
        )

    def told(answers: Answers, kept: int) -> np.ndarray:
        said = answers.all(ask)
        return said.reshape(len(said), -1)

    values = np.stack([said for _, said in removal.ask(range(removal.everything + 1), told, n_jobs=n_jobs)])
    classes = getattr(removal.model, "classes_", None)
    return Bunch(
        modalities=removal.names,
        contributions=shapley_values(values).swapaxes(0, 1),
        base=values[0],
        predictions=values[-1],
        outputs=list(range(values.shape[2])) if classes is None else list(classes),
    )


# What a metric says of each sample, where it is the mean of that.
_EACH: dict[str, Callable[[Answers, np.ndarray], np.ndarray]] = {
    "accuracy": lambda answers, y: (answers.all("predict") == y).astype(float),
    "neg_log_loss": lambda answers, y: np.log(
        answers.all("predict_proba")[np.arange(len(y)), np.searchsorted(answers.classes_, y)].clip(
            np.finfo(float).eps
        )
    ),
    "neg_mean_squared_error": lambda answers, y: -((answers.all("predict") - y) ** 2),
    "neg_mean_absolute_error": lambda answers, y: -abs(answers.all("predict") - y),
}


class _Scores:
    """Scores of sets of modalities, over rows of the samples."""

    def __init__(self, removal: Removal, y: np.ndarray, scoring: Any, refit: Any, n_jobs: int | None) -> None:
        self.removal, self.y, self.refit, self.n_jobs = removal, y, refit, n_jobs
        if scoring is None:
            scoring = "accuracy" if is_classifier(removal.model) else "r2" if is_regressor(removal.model) else None
        if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
            raise ValueError(f"scoring must be one metric, a name or a function, got {scoring!r}.")
        self.scoring, self.scorer = scoring, check_scoring(removal.model, scoring)
        self.answers: dict[int, Answers] = {}
        self.whole: dict[int, float] = {}  # of all rows
        self.all = np.arange(removal.n_samples)

    def ask(self, sets: Sequence[int]) -> None:
        """Have the answers of these sets."""
        new = [kept for kept in dict.fromkeys(sets) if kept not in self.answers]
        if not new:
            return
        found = self.removal.ask(new, self._of_all, self.refit, n_jobs=self.n_jobs)
        for kept, (answers, score) in zip(new, found, strict=True):
            self.answers[kept], self.whole[kept] = answers, score

    def _of_all(self, answers: Answers, kept: int) -> float:
        return self.score(answers, self.all, kept)  # which asks for what it needs

    def of(self, kept: int) -> float:
        self.ask([kept])
        return self.whole[kept]

    def drawn(self, kept: int, draws: list[np.ndarray]) -> np.ndarray:
        """Scores of a set on each draw of rows, (n_draws,)."""
        self.ask([kept])
        return self.over(self.answers[kept], self.whole[kept], draws, kept)

    def over(self, answers: Answers, whole: float, draws: list[np.ndarray], kept: int) -> np.ndarray:
        """Scores of answers, of which that of all rows is known, on each draw of rows, (n_draws,)."""
        each = _EACH.get(self.scoring) if isinstance(self.scoring, str) and self.y.ndim == 1 else None
        if each is not None:
            values = each(answers, self.y)
            # a mean over samples, if it is what the scorer says, needs no call for each draw
            if values.ndim == 1 and np.isclose(values.mean(), whole, rtol=1e-9):
                return np.array([values[rows].mean() for rows in draws])
        return np.array([self._of_draw(answers, rows) for rows in draws])

    def _of_draw(self, answers: Answers, rows: np.ndarray) -> float:
        """Score of some rows; NaN where these have none, such as that of a draw which lacks a class."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return float(self.scorer(answers, rows, self.y[rows]))
            except ValueError:
                return math.nan

    def score(self, answers: Answers, rows: np.ndarray, kept: int) -> float:
        there = self.removal.members(kept)
        try:
            value = float(self.scorer(answers, rows, self.y[rows]))
        except Exception as error:
            raise ValueError(f"scoring={self.scoring!r} failed with {there or 'nothing'} alone: {error}") from error
        if not np.isfinite(value):
            raise ValueError(f"scoring={self.scoring!r} is {value} with {there or 'nothing'} alone.")
        return value


def _exact(scores: _Scores, draws: list[np.ndarray]) -> dict[str, Any]:
    sets = range(scores.removal.everything + 1)
    scores.ask(sets)
    values = np.array([scores.of(kept) for kept in sets])
    drawn = np.stack([scores.drawn(kept, draws) for kept in sets])
    singles = [1 << i for i in range(scores.removal.n_names)]
    return {
        "importances": shapley_values(values),
        "drawn": shapley_values(drawn),
        "alone": values[singles] - values[0],
        "interactions": interactions(values),
    }


def _sampled(scores: _Scores, draws: list[np.ndarray], n_permutations: int, rng: Any) -> dict[str, Any]:
    n_names = scores.removal.n_names
    warn(
        f"{n_names} modalities have 2**{n_names} sets; {n_permutations} orders are drawn instead of all (their "
        "error is in standard_errors)."
    )
    state = rng.randint(np.iinfo(np.int32).max)

    def estimate(value: Callable[[int], float]) -> tuple[np.ndarray, np.ndarray]:
        same = np.random.RandomState(state)  # the same orders, whose sets were asked about already
        return sampled_shapley_values(value, n_names, n_permutations, same)

    asked: dict[int, float] = {}
    estimate(lambda kept: asked.setdefault(kept, 0.0))
    scores.ask(list(asked))  # together
    importances, errors = estimate(scores.of)
    drawn = {kept: scores.drawn(kept, draws) for kept in scores.answers}
    shares = [estimate(partial(_at, drawn, d))[0] for d in range(len(draws))]
    nothing = scores.of(0)
    return {
        "importances": importances,
        "standard_errors": errors,
        "drawn": np.array(shares).reshape(len(draws), n_names).T,
        "alone": np.array([scores.of(1 << i) - nothing for i in range(n_names)]),
    }


def _at(drawn: dict[int, np.ndarray], d: int, kept: int) -> float:
    return float(drawn[kept][d])


def _removed(scores: _Scores, draws: list[np.ndarray]) -> dict[str, Any]:
    everything = scores.removal.everything
    sets = [everything & ~(1 << i) for i in range(scores.removal.n_names)]
    singles = [1 << i for i in range(scores.removal.n_names)]
    scores.ask([everything, 0, *sets, *singles])

    whole = scores.drawn(everything, draws)
    return {
        "importances": scores.of(everything) - np.array([scores.of(kept) for kept in sets]),
        "drawn": np.stack([whole - scores.drawn(kept, draws) for kept in sets]),
        "alone": np.array([scores.of(kept) for kept in singles]) - scores.of(0),
    }


def _shuffled(scores: _Scores, draws: list[np.ndarray], n_repeats: int, rng: Any) -> dict[str, Any]:
    removal, everything = scores.removal, scores.removal.everything
    orders = [rng.permutation(removal.n_samples) for _ in range(n_repeats)]
    whole = scores.of(everything)
    falls = np.empty((removal.n_names, n_repeats))
    drawn = np.zeros((removal.n_names, len(draws)))
    whole_drawn = scores.drawn(everything, draws)
    for i in range(removal.n_names):
        for r, order in enumerate(orders):
            answers = Answers(removal.model, removal.shuffled(i, order))
            score = scores.score(answers, scores.all, everything)
            falls[i, r] = whole - score
            drawn[i] += (whole_drawn - scores.over(answers, score, draws, everything)) / n_repeats
    spread = falls.std(axis=1, ddof=1) / np.sqrt(n_repeats) if n_repeats > 1 else np.full(len(falls), np.nan)
    return {"importances": falls.mean(axis=1), "standard_errors": spread, "drawn": drawn}


def _result(
    scores: _Scores, found: dict[str, Any], confidence: float, removal: Removal, *, baseline: bool
) -> Bunch:
    n_names = removal.n_names
    nothing = np.full(n_names, np.nan)
    low, high = nothing, nothing
    drawn = found["drawn"][:, np.isfinite(found["drawn"]).all(axis=0)]
    if drawn.shape[1]:
        low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    table = [
        {
            "modality": label(key),
            "importance": float(found["importances"][i]),
            "low": None if np.isnan(low[i]) else float(low[i]),
            "high": None if np.isnan(high[i]) else float(high[i]),
            "alone": float(found["alone"][i]) if "alone" in found else None,
        }
        for i, key in enumerate(removal.names)
    ]
    return Bunch(
        modalities=removal.names,
        importances=found["importances"],
        low=low,
        high=high,
        standard_errors=found.get("standard_errors", np.zeros(n_names)),
        alone=found.get("alone", nothing),
        interactions=found.get("interactions"),
        score=scores.of(removal.everything),
        baseline=scores.of(0) if baseline else np.nan,
        scores={tuple(removal.members(kept)): score for kept, score in sorted(scores.whole.items())},
        table=Table(sorted(table, key=lambda row: -float(row["importance"] or 0.0))),
    )


def _check(
    y: Any, method: str, level: str, n_bootstrap: Any, confidence: Any, n_permutations: Any, n_repeats: Any
) -> None:
    if y is None:
        raise ValueError("y is None; importances are shares of a score, which needs the target of each sample.")
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    check_scalar(n_bootstrap, "n_bootstrap", Integral, min_val=0)
    check_scalar(n_permutations, "n_permutations", Integral, min_val=1)
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    check_scalar(confidence, "confidence", Real, min_val=0, max_val=1, include_boundaries="neither")


def _check_target(y: Any, removal: Removal) -> None:
    """Refuse another number of targets than samples, and classes that the estimator does not know."""
    if num_samples(y) != removal.n_samples:
        raise ValueError(f"y has {num_samples(y)} entries, X has {removal.n_samples} samples.")
    classes, labels = getattr(removal.model, "classes_", None), np.asarray(y)
    if is_classifier(removal.model) and isinstance(classes, np.ndarray) and labels.ndim == 1:
        new = [label for label in np.unique(labels).tolist() if label not in set(classes.tolist())]
        if new:
            raise ValueError(
                f"y has classes that {type(removal.model).__name__} was not fitted to: {new}; valid are "
                f"{classes.tolist()}."
            )


def _removal(estimator: Any, X: Any, names: Any, level: str, method: str) -> Removal:
    try:
        return Removal(estimator, X, names, columns=level == "column")
    except ValueError as error:
        if level == "column" or not hasattr(X, "columns"):
            raise
        raise ValueError(
            f"{error} Of a table that such an estimator reads, columns can be shuffled: level='column', "
            "method='permutation'."
        ) from error


def _warn_of_unseen(model: Any) -> None:
    model = last_step(inside(model))
    if isinstance(model, MultimodalEstimator) and not model._hides_modalities():
        warn(
            f"{type(model).__name__} was trained without modality_dropout: samples without a modality are unlike "
            "those it learned from, and what it says of them is a guess. Fit it with modality_dropout=0.3, or use "
            "retrain=True."
        )


def _draws(n_samples: int, groups: Any, n_bootstrap: int, rng: Any) -> list[np.ndarray]:
    """Rows of each draw with replacement, of whole groups if there are any."""
    if groups is None:
        return [rng.randint(n_samples, size=n_samples) for _ in range(n_bootstrap)]
    if num_samples(groups) != n_samples:
        raise ValueError(f"groups has {num_samples(groups)} entries, X has {n_samples} samples.")
    _, which = np.unique(safe_indexing(groups, np.arange(n_samples)), return_inverse=True)
    rows = [np.flatnonzero(which == g) for g in range(which.max() + 1)]
    return [np.concatenate([rows[g] for g in rng.randint(len(rows), size=len(rows))]) for _ in range(n_bootstrap)]
