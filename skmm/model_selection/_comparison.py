"""What a comparison of methods found: their scores, how sure the differences are, and that in one sentence."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.stats

from skmm.reporting._report import Report, report_comparison
from skmm.table import Table


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
    best_fusion : str
        The fusion that is best on ``metric``, as ``summary`` names it.
    best_estimator_ : estimator or None
        With ``refit``, the estimator with this fusion, fitted to all samples.
    verdict : str
        The comparison in one sentence.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.model_selection import compare_fusions
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
    best_estimator_: Any = None

    @property
    def best_fusion(self) -> str:
        return next(row["method"] for row in self.summary if row["kind"] == "fusion")

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

    def report(self, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Report:
        """The comparison for people who did not make it: one file that needs neither network nor script.

        Scores with their deviations, differences with their intervals, what was left out, columns that tell too
        much, and the verdict.

        Parameters
        ----------
        path : str or path, optional
            File to write, ``"comparison.html"`` or ``"comparison.md"``; one that is there is written over.
        title : str, optional
            What stands on top.

        Returns
        -------
        Report
            As of :func:`skmm.report`; there is no model card of several models.

        Raises
        ------
        ValueError
            If the ending of ``path`` is unknown.
        OSError
            If its folder is not there or cannot be written.
        """
        return report_comparison(self, path, title=title)

    def _sentences(self) -> list[str]:
        """What stands below the tables."""
        left_out = [f"{name} is left out: {reason}" for name, reason in self.skipped.items()]
        refitted = []
        if self.best_estimator_ is not None:
            first = next(iter(self.summary))
            worse = f", though the baseline {first['method']} is better" if first["kind"] == "baseline" else ""
            refitted = [f"best_estimator_ is {self.best_fusion}, fitted to all samples{worse}."]
        return [*left_out, *(f"Beware: {suspect}." for suspect in self.suspects), *refitted, self.verdict]

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
    >>> from skmm.model_selection import corrected_interval
    >>> low, high = corrected_interval([0.01, 0.03, 0.02, 0.02, 0.02], test_to_train=1 / 4)
    >>> round(low, 4), round(high, 4)
    (0.0068, 0.0332)
    """
    check_confidence(confidence)
    values = np.asarray(differences, dtype=float)
    k = len(values)
    if k < 2:
        raise ValueError(f"an interval needs at least 2 folds, got {k}.")
    error = np.sqrt(values.var(ddof=1) * (1 / k + test_to_train))
    half = scipy.stats.t.ppf((1 + confidence) / 2, k - 1) * error
    return float(values.mean() - half), float(values.mean() + half)


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}.")


def summarise(
    results: Mapping[str, list[dict[str, float]]],
    baselines: set[str],
    metrics: list[str],
    suffixes: list[str],
    test_to_train: float,
    confidence: float,
    **found: Any,
) -> FusionComparison:
    """The comparison of methods from what was measured of each on each fold.

    Parameters
    ----------
    results : dict of str to list of dict of str to float
        By method and fold: its times, and its scores by metric, and by metric and suffix.
    baselines : set of str
        Those of the methods that are no fusions.
    metrics : list of str
        As scikit-learn names them; more is better, and the first ranks the methods.
    suffixes : list of str
        What marks a metric as measured in the absence of a modality.
    test_to_train : float
        Test samples for each that trains.
    confidence : float
        Level of the intervals.
    **found
        More attributes of the comparison.
    """
    first = metrics[0]
    ranking = {name: _over_folds(folds, first) for name, folds in results.items()}
    means = {name: values.mean() for name, values in ranking.items()}
    ranked = sorted(results, key=lambda name: (np.isnan(means[name]), -means[name]))
    scores = {
        name: {
            _shown(metric) + suffix: _sign(metric) * _over_folds(folds, metric + suffix)
            for suffix in ["", *suffixes]
            for metric in metrics
        }
        for name, folds in results.items()
    }
    rows = []
    for name in ranked:
        row: dict[str, Any] = {"method": name, "kind": "baseline" if name in baselines else "fusion"}
        for metric in map(_shown, metrics):
            row |= {metric: float(scores[name][metric].mean()), f"{metric}_std": float(scores[name][metric].std())}
        row |= {_shown(first) + suffix: float(scores[name][_shown(first) + suffix].mean()) for suffix in suffixes}
        for shown, measured in {"fit_time": "fit_time", "predict_time": "score_time"}.items():
            row[shown] = float(_over_folds(results[name], measured).mean())
        rows.append(row)
    differences = _differences(ranking, ranked, baselines, test_to_train, confidence)
    return FusionComparison(Table(rows), differences, scores, _shown(first), confidence, **found)


def _over_folds(folds: list[dict[str, float]], key: str) -> np.ndarray:
    return np.array([fold[key] for fold in folds])


def _shown(metric: str) -> str:
    """Name of a metric in the tables; "neg_<error>" is scikit-learn's way of making more better."""
    return metric.removeprefix("neg_")


def _sign(metric: str) -> int:
    return -1 if metric.startswith("neg_") else 1


def _differences(
    scores: Mapping[str, np.ndarray],
    ranked: list[str],
    baselines: set[str],
    test_to_train: float,
    confidence: float,
) -> Table:
    """By how much each fusion is better than the best baseline, if there is one."""
    references = [name for name in ranked if name in baselines]
    if not references:
        return Table([])
    best, rows = references[0], []
    for name in ranked:
        if name not in baselines:
            gap = scores[name] - scores[best]
            low, high = corrected_interval(gap, test_to_train, confidence=confidence)
            rows.append(
                {"fusion": name, "baseline": best, "difference": float(gap.mean()), "low": low, "high": high}
            )
    return Table(rows)
