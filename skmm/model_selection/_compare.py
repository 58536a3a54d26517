"""Compare fusions with one another and with what scikit-learn alone gives."""

from __future__ import annotations

import html
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import scipy.stats
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_regressor
from sklearn.metrics import check_scoring, f1_score, make_scorer, recall_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter
from tqdm import tqdm

from skmm._checks import unknown
from skmm._private import safe_indexing
from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.blocks._given import refuse_unnamed
from skmm.compose import ModalityTransformer
from skmm.compose._leaks import ignore_leaks, warn_of_leaks
from skmm.estimators import MultimodalClassifier, MultimodalRegressor
from skmm.estimators._base import MultimodalEstimator
from skmm.inspection.removal import at_blocks, check_rate, draw_seed, score_without
from skmm.model_selection._baselines import check_task, make_baselines
from skmm.model_selection._search import FusionSearchCV
from skmm.network._network import known_fusion
from skmm.spec import Fusion, list_fusions
from skmm.table import Table

__all__ = ["FusionComparison", "FusionSearchCV", "compare_fusions", "corrected_interval", "make_baselines"]


@dataclass(frozen=True, repr=False)
class FusionComparison:
    """What :func:`compare_fusions` found.

    Attributes
    ----------
    summary : Table
        One row per method, the best first: ``method``; ``kind`` (fusion or baseline); for each metric its mean
        over the folds and, as ``<metric>_std``, its standard deviation; ``fit_time`` and ``predict_time``, mean
        seconds per fold (the second with the metrics' own time). With ``missing_rates`` also the mean of
        ``metric`` for each modality and rate, as ``<metric>_missing_<modality>_<rate>``.
    differences : Table
        One row per fusion, the best first: ``fusion``, ``baseline`` (the best one), ``difference`` (mean over
        the folds by which the fusion is better on ``metric``, negative where it is worse), ``low`` and ``high``
        (its interval). No rows without baselines.
    scores : dict of str to dict of str to ndarray of shape (n_folds,)
        Scores of each fold, by method and metric; with ``missing_rates`` also of every metric without it.
    metric : str
        The metric that ranks the methods: the first.
    confidence : float
        Level of the intervals.
    skipped : dict of str to str
        Fusions that were not compared, since their network cannot be built for these samples, and why.
    suspects : list of str
        Of a table, columns that alone tell the target perfectly, or number the rows, as
        :meth:`ModalityTransformer.find_leaks` finds them: what they are worth is what the scores are worth.
    verdict : str
        The comparison in one sentence.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.model_selection._compare import compare_fusions
    >>> rng = np.random.default_rng(0)
    >>> X = Blocks(text=rng.normal(size=(60, 3)), image=rng.normal(size=(60, 4)))
    >>> y = X["text"][:, 0] > 0
    >>> clf = MultimodalClassifier(n_members=1, max_epochs=2, random_state=0)
    >>> found = compare_fusions(X, y, estimator=clf, fusions=["concat", "late"], baselines=False, cv=3)
    >>> sorted(found.summary["method"])
    ['concat', 'late']
    >>> found.scores["late"]["accuracy"].shape
    (3,)
    """

    summary: Table
    differences: Table
    scores: dict[str, dict[str, np.ndarray]]
    metric: str
    confidence: float
    skipped: dict[str, str] = field(default_factory=dict)
    suspects: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        best = next(row for row in self.summary if row["kind"] == "fusion")
        if not len(self.differences):
            return (
                f"The best fusion by {self.metric} is {best['method']} with {best[self.metric]:.4f}; without "
                "baselines this does not say whether a deep fusion is needed."
            )
        row = next(iter(self.differences))
        if np.isnan(row["difference"]):
            return (
                f"Whether a deep fusion helps cannot be said: the {self.metric} of {row['fusion']} or of "
                f"{row['baseline']} is nan on some fold. Choose folds that hold every class, or another metric."
            )
        if row["low"] > 0:
            finding, comparison = "helps", "is better than"
        elif row["high"] < 0:
            finding, comparison = "does not help", "is worse than"
        else:
            finding, comparison = "makes no clear difference", "may be better or worse than"
        return (
            f"Deep fusion {finding} here: the best fusion, {row['fusion']}, {comparison} the best baseline, "
            f"{row['baseline']}: {row['difference']:+.4f} in {self.metric}, {self.confidence:.0%} interval "
            f"{row['low']:+.4f} to {row['high']:+.4f} (positive favours the fusion)."
        )

    def _sentences(self) -> list[str]:
        """What stands below the tables."""
        left_out = [f"{name} is left out: {reason}" for name, reason in self.skipped.items()]
        return [*left_out, *(f"Beware: {suspect}." for suspect in self.suspects), self.verdict]

    def __repr__(self) -> str:
        differences = [repr(self.differences)] if len(self.differences) else []
        return "\n\n".join([repr(self.summary), *differences, *self._sentences()])

    def _repr_html_(self) -> str:
        differences = self.differences._repr_html_() if len(self.differences) else ""
        below = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self._sentences())
        return f"{self.summary._repr_html_()}{differences}{below}"


def corrected_interval(differences: Any, test_to_train: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a mean difference over cross-validation folds: the corrected resampled t interval.

    Training parts of different folds share samples, so the folds' differences are not independent and their
    variance over k understates the uncertainty of their mean. The correction widens it to

        mean ± t(k - 1) · sqrt( s² · (1/k + n_test / n_train) )

    with s² the sample variance (k - 1 in its denominator) of the k differences.

    Parameters
    ----------
    differences : array-like of shape (k,)
        One paired difference per fold.
    test_to_train : float
        ``n_test / n_train``, 1 / (k - 1) in k-fold cross-validation.
    confidence : float, default=0.95
        Level of the interval.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If there are fewer than two differences, or the level is not between 0 and 1.

    References
    ----------
    Nadeau, C. and Bengio, Y. (2003). Inference for the generalization error. Machine Learning 52, 239-281.

    Examples
    --------
    >>> from skmm.model_selection._compare import corrected_interval
    >>> low, high = corrected_interval([0.01, 0.03, 0.02, 0.02, 0.02], test_to_train=1 / 4)
    >>> round(low, 4), round(high, 4)
    (0.0068, 0.0332)
    """
    _check_confidence(confidence)
    values = np.asarray(differences, dtype=float)
    k = len(values)
    if k < 2:
        raise ValueError(f"an interval needs at least 2 folds, got {k}.")
    error = np.sqrt(values.var(ddof=1) * (1 / k + test_to_train))
    half = scipy.stats.t.ppf((1 + confidence) / 2, k - 1) * error
    return float(values.mean() - half), float(values.mean() + half)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}.")


def compare_fusions(
    X: Any,
    y: Any,
    *,
    estimator: BaseEstimator | None = None,
    fusions: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    baselines: bool | Mapping[str, BaseEstimator] = True,
    missing_rates: Mapping[str, float | Sequence[float]] | float | Sequence[float] | None = None,
    groups: Any = None,
    params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    random_state: Any = None,
    confidence: float = 0.95,
) -> FusionComparison:
    """Cross-validate fusions and linear baselines on the same folds.

    Parameters
    ----------
    X : Blocks, dict of arrays, or whatever ``estimator`` takes
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    estimator : estimator, optional
        What is fitted with each fusion: an estimator with a parameter ``fusion``, or a pipeline that ends in one
        and whose earlier steps give Blocks. Default: MultimodalClassifier or MultimodalRegressor, by the type of
        ``y`` (integers are classes).
    fusions : list of str, Fusion, or class, optional
        What to compare; ``"auto"`` is the choice that the estimators make of the samples. Default: every registered
        fusion with its default parameters, but for those whose network cannot be built for these samples, which
        the result lists as ``skipped``.
    cv : int, splitter or iterable of splits, default=5
        The folds; at least two. A number of folds means StratifiedKFold for classification and KFold else, with
        ``groups`` StratifiedGroupKFold and GroupKFold, none shuffled.
    scoring : str, callable, or list or dict of them, optional
        Metrics; the first ranks the methods. Default: accuracy, recall and F1 averaged over the classes, or R²
        and mean absolute error. scikit-learn's ``"neg_<error>"`` are reported as the error itself, positive, and
        less is better.
    baselines : bool or dict of str to estimator, default=True
        Whether to add :func:`make_baselines`, or estimators on Blocks to use in their place. They take the
        earlier steps of a pipeline before them.
    missing_rates : float, sequence of float, or dict of str to these, optional
        Shares, from 0 to 1, of those test samples of each fold that have a modality, which are to lose it: one
        modality after the other, or each of those named. Every method is scored again on what is left, not fitted
        again, and all lack the same. Baselines fill in what they learned in training, of a dense modality the
        column means.
    groups : array-like of shape (n_samples,), optional
        Group of each sample. The splitter sees it, and within each fold the fusions whose ``fit`` takes
        ``groups`` and the baseline ``"stacked"``.
    params : dict, optional
        Passed to each fusion's ``fit`` (``sample_weight``, cut to the fold's rows). Needs ``baselines=False``,
        for they would be fitted without it.
    n_jobs : int, optional
        Number of fits at once, over methods and folds.
    verbose : int, default=0
        Show a progress bar.
    random_state : int, RandomState instance or None, default=None
        Given to every candidate and to the baselines' inner folds; at None the estimator keeps its own. Also
        chooses the samples that lose a modality.
    confidence : float, default=0.95
        Level of the intervals.

    Returns
    -------
    FusionComparison
        With the table ``summary``, the table ``differences`` to the best baseline, ``verdict``, ``skipped`` and
        ``suspects``.

    Raises
    ------
    ValueError
        Before anything is fitted: if a fusion, one of its parameters or a scorer is unknown, a fusion that is named
        cannot be built for these samples, a name occurs twice, the estimator has no parameter ``fusion``, there are
        fewer than two folds, or ``missing_rates`` names an unknown modality or a rate out of range. An error in a
        fit is raised with a note that names the method and the fold.
    KeyboardInterrupt
        After Ctrl-C. Nothing is returned then, and no fit that was interrupted is ever scored.

    Warns
    -----
    UserWarning
        Once, before anything is fitted, if X is a table of which a column alone tells ``y``, or numbers the rows.
        Also if a metric cannot be computed, such as a log-loss on a fold that lacks a class: its score is then nan,
        and so are the means over it, which rank last.

    Notes
    -----
    The intervals are those of :func:`corrected_interval`, each on its own. The best of many fusions and the best
    of several baselines are both chosen on the folds that they are judged by, so read a narrow win as no win.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.model_selection._compare import compare_fusions
    >>> rng = np.random.default_rng(0)
    >>> X = Blocks(text=rng.normal(size=(60, 3)), image=rng.normal(size=(60, 4)))
    >>> y = np.where(X["text"][:, 0] + X["image"][:, 0] > 0, "up", "down")
    >>> quick = MultimodalClassifier(max_epochs=5, n_members=2)
    >>> result = compare_fusions(X, y, estimator=quick, fusions=["late", "mfb"], cv=3, random_state=0)
    >>> sorted(result.summary["method"])
    ['LR concat', 'LR image', 'LR text', 'late', 'late mean', 'mfb', 'stacked']
    >>> result.scores["mfb"]["accuracy"].shape
    (3,)

    The same without the image of half of the test samples:

    >>> result = compare_fusions(
    ...     X, y, estimator=quick, fusions=["late"], cv=3, missing_rates={"image": 0.5}, random_state=0
    ... )
    >>> text = result.scores["LR text"]  # which does not read the image
    >>> text["accuracy"].tolist() == text["accuracy_missing_image_0.5"].tolist()
    True
    """
    if type(X) is dict:  # by exact type: scipy's dok_array is a dict as well
        X = Blocks(X)
    regression, one_target = check_task(y, None if estimator is None else is_regressor(estimator))
    if estimator is None:
        estimator = MultimodalRegressor() if regression else MultimodalClassifier()
    if isinstance(estimator, MultimodalEstimator):
        refuse_unnamed(X)
    candidates = _candidates(estimator, fusions, random_state)
    _check_confidence(confidence)
    if params and baselines:
        raise ValueError("params go to the fusions alone; a fair comparison needs baselines=False with them.")
    if groups is not None and isinstance(cv, int):
        cv = GroupKFold(cv) if regression or not one_target else StratifiedGroupKFold(cv)
    splits = list(check_cv(cv, y, classifier=not regression).split(X, y, groups))
    if len(splits) < 2:
        raise ValueError(f"a comparison needs at least 2 folds, cv={cv!r} gives {len(splits)}.")
    metrics = _metrics(scoring, regression)
    check_scoring(estimator, metrics)  # an unknown scorer fails here, before any fit

    suspects = _suspects(estimator, X, y, groups)
    warn_of_leaks(suspects)
    last, prefix = _last(estimator)
    networks = isinstance(last, MultimodalEstimator)
    if networks or baselines is True or missing_rates is not None:
        # the earlier steps of a pipeline are fitted to one fold's training rows only to see what Blocks they give
        given = _before(estimator, "passthrough").fit_transform(_rows(X, splits[0][0]), _rows(y, splits[0][0]))
    refused = _refused(candidates, given, _rows(y, splits[0][0])) if networks else {}
    if refused and (fusions is not None or len(refused) == len(candidates)):
        name, error = next(iter(refused.items()))
        error.add_note(f"Raised by {name!r}, before anything was fitted.")
        raise error
    candidates = {name: model for name, model in candidates.items() if name not in refused}
    removals = [] if missing_rates is None else _removals(missing_rates, given)
    seed = draw_seed(random_state) if removals else 0
    if baselines is True:
        references: list[Mapping[str, BaseEstimator]] = [
            make_baselines(
                given,
                _rows(y, train),
                regression=regression,
                groups=None if groups is None else _rows(groups, train),
                random_state=random_state,
            )
            for train, _ in splits
        ]
    else:
        references = [baselines or {}] * len(splits)
    names = list(references[0])
    twice = set(candidates) & set(names)
    if twice:
        raise ValueError(f"{sorted(twice)} name both fusions and baselines.")
    params = dict(params or {})
    if groups is not None and has_fit_parameter(last, "groups"):
        params.setdefault(f"{prefix}groups", groups)

    tasks = [(name, model, i, params) for name, model in candidates.items() for i in range(len(splits))]
    tasks += [(name, _before(estimator, references[i][name]), i, {}) for name in names for i in range(len(splits))]
    fits = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_evaluate)(name, model, X, y, i, splits[i], metrics, extra, removals, seed)
        for name, model, i, extra in tasks
    )
    results: dict[str, list[dict[str, Any]]] = {}
    unscored: dict[str, list[tuple[str, int]]] = {}
    try:
        shown = tqdm(fits, total=len(tasks), disable=not verbose)
        for (name, _, fold, _), (result, reasons) in zip(tasks, shown, strict=True):
            results.setdefault(name, []).append(result)
            for reason in reasons:
                unscored.setdefault(reason, []).append((name, fold))
    except KeyboardInterrupt as error:
        done = sum(map(len, results.values()))
        error.add_note(f"compare_fusions ended after {done} of {len(tasks)} fits; none is reported.")
        raise
    for reason, fits_of in unscored.items():
        warn(
            f"{len(fits_of)} of {len(tasks)} fits, the first is {fits_of[0][0]!r} on fold {fits_of[0][1]}, have no "
            f"score (nan): {reason}"
        )
    ratio = float(np.mean([len(test) / len(train) for train, test in splits]))
    skipped = {name: str(error) for name, error in refused.items()}
    found = _summarise(results, set(names), list(metrics), removals, ratio, confidence, skipped)
    return replace(found, suspects=suspects)


def _suspects(estimator: Any, X: Any, y: Any, groups: Any) -> list[str]:
    """Columns of a table that the estimator learns from and that alone tell the target, or number the rows."""
    first = estimator.steps[0][1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(X, Blocks) or not hasattr(X, "columns"):
        return []
    if isinstance(first, MultimodalEstimator) and first.modalities == "auto":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each fit will say what it drops
            first = ModalityTransformer.from_frame(X)
    return first.find_leaks(X, y, groups) if isinstance(first, ModalityTransformer) else []


def _candidates(estimator: BaseEstimator, fusions: Any, random_state: Any) -> dict[str, BaseEstimator]:
    """One unfitted estimator per fusion, by the name that the tables show."""
    last, prefix = _last(estimator)
    if not hasattr(last, "get_params") or "fusion" not in last.get_params(deep=False):
        raise ValueError(
            "estimator must have a parameter 'fusion', or be a pipeline whose last step has one; got "
            f"{type(last).__name__}."
        )
    if fusions is None:
        fusions = list_fusions()
    elif isinstance(fusions, (str, type, Fusion)):
        fusions = [fusions]
    found: dict[str, BaseEstimator] = {}
    for fusion in fusions:
        spec = known_fusion(fusion)  # an unknown name or parameter fails here, before any fit
        if isinstance(spec, Fusion) and spec.name != "auto":
            spec.resolve()
        label = fusion if isinstance(fusion, str) else _label(fusion)
        if label in found:
            raise ValueError(f"fusion {label!r} is listed twice.")
        found[label] = clone(estimator).set_params(**{f"{prefix}fusion": fusion})
        if random_state is not None:
            found[label].set_params(**{f"{prefix}random_state": random_state})
    if not found:
        raise ValueError("there is no fusion to compare.")
    return found


def _refused(candidates: Mapping[str, BaseEstimator], blocks: Blocks, y: Any) -> dict[str, ValueError]:
    """What candidates say against such samples when their network is built, as a fit does first."""
    trial: Any = clone(_last(next(iter(candidates.values())))[0])
    return trial._refused_fusions(blocks, y, {name: _last(model)[0].fusion for name, model in candidates.items()})


def _last(estimator: Any) -> tuple[Any, str]:
    """The estimator itself or the last step of a pipeline, and the prefix of its parameters."""
    if isinstance(estimator, Pipeline):
        return estimator.steps[-1][1], f"{estimator.steps[-1][0]}__"
    return estimator, ""


def _rows(data: Any, rows: np.ndarray) -> Any:
    return safe_indexing(data, rows)


def _label(fusion: Any) -> str:
    if isinstance(fusion, Fusion):
        return repr(fusion)
    return fusion.__name__ if isinstance(fusion, type) else type(fusion).__name__


def _before(estimator: Any, model: Any) -> Pipeline:
    """The model behind all that makes Blocks of the estimator's X: earlier steps of a pipeline, ``modalities``."""
    steps: list[Any] = []
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        steps.append(estimator[:-1])
    last, _ = _last(estimator)
    if isinstance(last, MultimodalEstimator):
        steps.append(_Reader(last))
    return clone(make_pipeline(*steps, model))


class _Reader(TransformerMixin, BaseEstimator):
    """X as an estimator reads it, which learns in its fit how."""

    def __init__(self, estimator: MultimodalEstimator) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None) -> Self:
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Blocks:
        blocks, self.reader_ = self.estimator._first_read(X)
        return blocks

    def transform(self, X: Any) -> Blocks:
        return self.reader_._read(X)


def _metrics(scoring: Any, regression: bool) -> dict[str, Any]:
    """Metrics by name, the ranking one first."""
    if scoring is None:
        if regression:
            return {"r2": "r2", "neg_mean_absolute_error": "neg_mean_absolute_error"}
        # a class that a model never predicts counts as zero, without a warning for each fold
        return {
            "accuracy": "accuracy",
            "recall_macro": make_scorer(recall_score, average="macro", zero_division=0),
            "f1_macro": make_scorer(f1_score, average="macro", zero_division=0),
        }
    if isinstance(scoring, Mapping):
        return dict(scoring)
    if isinstance(scoring, str) or callable(scoring):
        scoring = [scoring]
    return {s if isinstance(s, str) else getattr(s, "__name__", "score"): s for s in scoring}


def _removals(missing_rates: Any, blocks: Any) -> list[tuple[str, float]]:
    """Each modality and the share of it that is to go missing."""
    if not isinstance(blocks, Blocks):
        raise ValueError(f"missing_rates needs X to be Blocks, or to become them, got {type(blocks).__name__}.")
    by_name = missing_rates if isinstance(missing_rates, Mapping) else dict.fromkeys(blocks, missing_rates)
    found: dict[tuple[str, float], None] = {}
    for name, rates in by_name.items():
        if name not in blocks:
            raise unknown("modality in missing_rates:", name, blocks)
        for rate in np.atleast_1d(rates).tolist():
            check_rate(rate, f"missing_rates of {name!r}")
            found[name, rate] = None
    return list(found)


def _suffix(modality: str, rate: float) -> str:
    """What marks a metric as that with a modality removed."""
    return f"_missing_{modality}_{rate:g}"


def _evaluate(
    name: str,
    model: Any,
    X: Any,
    y: Any,
    fold: int,
    split: Any,
    metrics: Mapping[str, Any],
    params: Any,
    removals: list[tuple[str, float]],
    seed: int,
) -> tuple[dict[str, float], list[str]]:
    """Fit one method on one fold, and score it, then again without some of the test samples' modalities.

    Where a metric cannot be computed the score is nan; what it raised is the second of what is returned.
    """
    reasons: dict[str, None] = {}
    scorer = _Scorer(metrics, reasons)
    try:
        with warnings.catch_warnings():
            ignore_leaks()  # they were looked for in the whole table
            found = cross_validate(
                model,
                X,
                y,
                cv=[split],
                scoring=scorer,
                params=params,
                error_score="raise",
                return_estimator=bool(removals),
            )
        (fitted,) = found.pop("estimator", [None])
        scores = {key.removeprefix("test_"): float(values[0]) for key, values in found.items()}
        if removals:
            rest, blocks = at_blocks(fitted, _rows(X, split[1]))
        for modality, rate in removals:
            reduced, _ = score_without(scorer, rest, blocks, _rows(y, split[1]), [modality], rate, [seed, fold])
            scores |= {metric + _suffix(modality, rate): float(score) for metric, score in reduced.items()}
    except Exception as error:
        error.add_note(f"Raised by {name!r} on fold {fold}.")
        raise
    return scores, list(reasons)


class _Scorer:
    """Scores of several metrics; nan for one that raises, which is noted, as scikit-learn's searches do."""

    def __init__(self, metrics: Mapping[str, Any], reasons: dict[str, None]) -> None:
        self.metrics, self.reasons = metrics, reasons

    def __call__(self, estimator: Any, X: Any, y: Any, **params: Any) -> dict[str, float]:
        found = check_scoring(estimator, self.metrics, raise_exc=False)(estimator, X, y, **params)
        for metric, score in found.items():
            if isinstance(score, str):  # the traceback
                self.reasons[f"{metric}: {score.strip().splitlines()[-1]}"] = None
                found[metric] = math.nan
        return found


def _summarise(
    results: Mapping[str, list[dict[str, float]]],
    baselines: set[str],
    metrics: list[str],
    removals: list[tuple[str, float]],
    test_to_train: float,
    confidence: float,
    skipped: dict[str, str],
) -> FusionComparison:
    def folds(name: str, key: str) -> np.ndarray:
        return np.array([result[key] for result in results[name]])

    # "neg_<error>" is scikit-learn's way of making more better; it is shown as the error
    signs = {metric: -1 if metric.startswith("neg_") else 1 for metric in metrics}
    shown = {metric: metric.removeprefix("neg_") for metric in metrics}
    first = metrics[0]
    suffixes = [_suffix(*removal) for removal in removals]
    means = {name: folds(name, first).mean() for name in results}
    ranked = sorted(results, key=lambda name: (np.isnan(means[name]), -means[name]))
    rows = []
    for name in ranked:
        row: dict[str, Any] = {"method": name, "kind": "baseline" if name in baselines else "fusion"}
        for metric in metrics:
            row[shown[metric]] = signs[metric] * folds(name, metric).mean()
            row[f"{shown[metric]}_std"] = folds(name, metric).std()
        for suffix in suffixes:
            row[shown[first] + suffix] = signs[first] * folds(name, first + suffix).mean()
        row["fit_time"] = folds(name, "fit_time").mean()
        row["predict_time"] = folds(name, "score_time").mean()
        rows.append({key: value if isinstance(value, str) else float(value) for key, value in row.items()})
    differences = []
    best = next((name for name in ranked if name in baselines), None)
    if best is not None:
        for name in ranked:
            if name not in baselines:
                gap = folds(name, first) - folds(best, first)
                low, high = corrected_interval(gap, test_to_train, confidence=confidence)
                differences.append(
                    {"fusion": name, "baseline": best, "difference": float(gap.mean()), "low": low, "high": high}
                )
    scores = {
        name: {
            shown[metric] + suffix: signs[metric] * folds(name, metric + suffix)
            for suffix in ["", *suffixes]
            for metric in metrics
        }
        for name in results
    }
    return FusionComparison(Table(rows), Table(differences), scores, shown[first], confidence, skipped)
