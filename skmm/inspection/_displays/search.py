"""What a search found: scores by fusion and parameter, and what halving gave each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmm._checks import unknown
from skmm.inspection._drawing import (
    COLORS,
    LITERAL,
    POSITIVE,
    QUIET,
    check_kind,
    color_of,
    height_of,
    legend_beside,
    legend_size,
    marker_of,
    name_columns,
    name_of_score,
    name_rows,
    new_axes,
    number,
    pyplot,
    shown,
)

KINDS = ("parameter", "candidates", "halving")
_MOST = 30  # candidates that have a row each
_ABSENT = "not set"
_OF_FOLDS = ("mean", "fold")
_OF_HALVING = ("trained in full", "dropped")


class SearchDisplay:
    """Plot of the scores that a search found, with their deviation over the folds.

    Make it with :meth:`from_estimator`, of a fitted :class:`~skmm.model_selection.FusionSearchCV` or any search of
    scikit-learn.

    Parameters
    ----------
    candidates : list of dict
        Parameters of each candidate.
    scores : ndarray of shape (n_candidates, n_folds)
        Their scores by fold; NaN where a fit failed.
    resources : ndarray of shape (n_candidates,), default=None
        Epochs, or whatever halving divides, that each was given.
    dropped : ndarray of bool, shape (n_candidates,), default=None
        Whether halving dropped it.
    score_name, resource_name : str
        Names of the score, "score" by default, and of the resource, "epochs".

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        The figure with it.
    errorbars_ : list of matplotlib ErrorbarContainer
        Mean scores and one standard deviation over the folds to both sides: one for each line of
        ``kind="parameter"``, one for all candidates of ``kind="candidates"``.
    points_ : list of matplotlib Line2D
        Candidates that another one with the same two values was better than; or the scores of each fold.
    bars_ : matplotlib BarContainer or None
        Resources by candidate, of ``kind="halving"``.
    text_ : list of matplotlib Text
        Numbers beside them.
    legend_ : matplotlib Legend or None
        Which line is what.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import SearchDisplay
    >>> display = SearchDisplay(
    ...     candidates=[{"fusion": f, "lr": lr} for f in ("concat", "mfb") for lr in (0.01, 0.1)],
    ...     scores=np.array([[0.8, 0.9], [0.7, 0.8], [0.9, 0.9], [0.6, 0.8]]),
    ... )
    >>> display.plot(Figure().subplots()).ax_.get_xlabel()
    'lr'
    """

    def __init__(
        self,
        *,
        candidates: Sequence[Mapping[str, Any]],
        scores: np.ndarray,
        resources: np.ndarray | None = None,
        dropped: np.ndarray | None = None,
        score_name: str = "score",
        resource_name: str = "epochs",
    ) -> None:
        self.candidates = candidates
        self.scores = scores
        self.resources = resources
        self.dropped = dropped
        self.score_name = score_name
        self.resource_name = resource_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        metric: str | None = None,
        kind: str = "parameter",
        param: str | None = None,
        group: str | None = None,
        ax: Any = None,
        score_name: str | None = None,
        errorbar_kw: Mapping[str, Any] | None = None,
        bar_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw what a fitted search found.

        Parameters
        ----------
        estimator : fitted search
            A FusionSearchCV, GridSearchCV, RandomizedSearchCV or HalvingGridSearchCV, or another with
            ``cv_results_``.
        metric : str, default=None
            Which of several metrics; at None the one that chose the best.
        kind, param, group, ax, errorbar_kw, bar_kw
            As in :meth:`plot`.
        score_name : str, default=None
            Name of the score with its unit; by default that of the metric.

        Returns
        -------
        SearchDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the search is not fitted.
        ValueError
            If it is no search, there is no such metric, or as in :meth:`plot`.
        """
        pyplot()
        check_is_fitted(estimator)
        results = getattr(estimator, "cv_results_", None)
        if results is None or "params" not in results:
            raise ValueError(f"{type(estimator).__name__} has no cv_results_ to show; give a fitted search.")
        chosen = _metric(estimator, results, metric)
        if score_name is None:
            scoring = getattr(estimator, "scoring", None) if chosen == "score" else chosen
            score_name = name_of_score(
                estimator, None if isinstance(scoring, (list, tuple, dict, set)) else scoring
            )
        last = _last_rounds(results)
        scores = np.stack([results[f"split{i}_test_{chosen}"] for i in range(estimator.n_splits_)], axis=1)
        resources, dropped, resource_name = _halving(estimator, results)
        display = cls(
            candidates=[dict(results["params"][i]) for i in last],
            scores=scores[last].astype(float),
            resources=None if resources is None else resources[last],
            dropped=None if dropped is None else dropped[last],
            score_name=score_name,
            resource_name=resource_name,
        )
        return display.plot(ax, kind=kind, param=param, group=group, errorbar_kw=errorbar_kw, bar_kw=bar_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "parameter",
        param: str | None = None,
        group: str | None = None,
        errorbar_kw: Mapping[str, Any] | None = None,
        bar_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; a new figure at None.
        kind : {"parameter", "candidates", "halving"}, default="parameter"
            The scores along one parameter, a line for each fusion; a row for each candidate, the best first, with
            the scores of its folds; or what halving gave each candidate before it was dropped. Of more than 30
            candidates rows show the 30 best.
        param : str, default=None
            Of ``kind="parameter"`` what the horizontal axis is. At None the one of most values, other than
            ``group``.
        group : str, default=None
            What each line is of. At None the fusion, if it was searched.
        errorbar_kw, bar_kw : dict, default=None
            For ``Axes.errorbar`` and ``Axes.barh``.

        Returns
        -------
        SearchDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``kind`` or a parameter is unknown, or there was no halving to show.
        """
        pyplot()
        check_kind(kind, KINDS)
        self.errorbars_: list[Any] = []
        self.points_: list[Any] = []
        self.text_: list[Any] = []
        self.bars_: Any = None
        self.legend_: Any = None
        if kind == "parameter":
            self._draw_parameter(ax, *self._axes_of(param, group), errorbar_kw)
        elif kind == "candidates":
            self._draw_candidates(ax, errorbar_kw)
        else:
            self._draw_halving(ax, bar_kw)
        self.figure_ = self.ax_.figure
        return self

    def _over_folds(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each candidate's scores."""
        scores = np.asarray(self.scores, dtype=float)
        return scores.mean(axis=1), scores.std(axis=1)

    # -- along a parameter ---------------------------------------------------------------------------------------

    def _axes_of(self, param: str | None, group: str | None) -> tuple[str, str | None]:
        """The parameters along the axis and of the lines."""
        names = list(dict.fromkeys(name for candidate in self.candidates for name in candidate))
        for name in (param, group):
            if name is not None and name not in names:
                raise unknown("parameter", name, names)
        if group is None:
            fusions = [name for name in names if name.split("__")[-1] == "fusion" and name != param]
            group = fusions[0] if fusions else None
        if param is None:
            rest = [name for name in names if name != group]
            if not rest:
                return (group or "candidate"), None
            param = max(rest, key=lambda name: len({shown(_value(c, name)) for c in self.candidates}))
        return param, group

    def _draw_parameter(self, ax: Any, param: str, group: str | None, errorbar_kw: Any) -> None:
        values = [_value(candidate, param) for candidate in self.candidates]
        groups = [None if group is None else shown(_value(candidate, group)) for candidate in self.candidates]
        numeric = all(isinstance(value, Real) and not isinstance(value, bool) for value in values)
        names = list(dict.fromkeys(shown(value) for value in values))
        lines = list(dict.fromkeys(groups))
        wide, high = (0.0, 0.0) if group is None else legend_size([str(line) for line in lines])
        own_width = 6.5 if numeric else max(6.0, 2.0 + 0.6 * len(names))
        self.ax_ = ax = new_axes(ax, (own_width + wide, max(4.5, high)))
        places = np.array(values if numeric else [names.index(shown(value)) for value in values], dtype=float)
        for i, line in enumerate(lines):
            own = np.array([j for j, g in enumerate(groups) if g == line])
            shift = 0.0 if numeric else (i - (len(lines) - 1) / 2) * 0.6 / len(lines)
            self._draw_line(i, own, places + shift, "-" if numeric else "none", errorbar_kw)
        if numeric:
            if places.min() > 0 and places.max() >= 10 * places.min():
                ax.set_xscale("log")
        else:
            name_columns(ax, names)
        ax.set_xlabel(shown(param), **LITERAL)
        ax.set_ylabel(shown(f"{self.score_name}, mean and deviation over folds", 40), **LITERAL)
        if self.points_:
            ax.set_title("the best by all other parameters; the rest pale", fontsize="medium")
        if group is not None:
            self.legend_ = legend_beside(ax, self.errorbars_, lines, group)

    def _draw_line(self, i: int, own: np.ndarray, places: np.ndarray, linestyle: str, errorbar_kw: Any) -> None:
        """The best candidate at each place, and those beside it."""
        means, deviations = self._over_folds()
        ranked = own[np.argsort(-np.nan_to_num(means[own], nan=-np.inf), kind="stable")]
        _, first = np.unique(places[ranked], return_index=True)
        best = ranked[first]
        rest = np.setdiff1d(own, best)
        look = {"color": color_of(i), "marker": marker_of(i)}
        style = {**look, "linestyle": linestyle, "capsize": 3, **(errorbar_kw or {})}
        self.errorbars_.append(self.ax_.errorbar(places[best], means[best], yerr=deviations[best], **style))
        if len(rest):
            (points,) = self.ax_.plot(places[rest], means[rest], linestyle="none", alpha=0.35, markersize=4, **look)
            self.points_.append(points)

    # -- by candidate --------------------------------------------------------------------------------------------

    def _rows(self, ax: Any, order: np.ndarray, legend: Sequence[str]) -> np.ndarray:
        """The first of the candidates in this order, named on the vertical axis; new axes if there are none.

        A new figure has room for a legend beside them.
        """
        rows = order[:_MOST]
        every = list(dict.fromkeys(name for candidate in self.candidates for name in candidate))
        differ = [name for name in every if len({shown(_value(c, name)) for c in self.candidates}) > 1] or every
        names = [_named(self.candidates[i], differ) for i in rows]
        wide, high = legend_size(legend)
        self.ax_ = new_axes(ax, (8.5 + wide, max(high, height_of(names))))
        name_rows(self.ax_, names)
        if len(order) > _MOST:
            self.ax_.set_title(f"{_MOST} of {len(order)} candidates", fontsize="medium", pad=18)
        return rows

    def _draw_candidates(self, ax: Any, errorbar_kw: Any) -> None:
        means, deviations = self._over_folds()
        rows = self._rows(ax, np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable"), _OF_FOLDS)
        at = np.arange(len(rows))
        for i, row in enumerate(rows):
            each = {"linestyle": "none", "marker": "o", "markersize": 4, "color": COLORS[1]}
            self.points_ += self.ax_.plot(self.scores[row], np.full(len(self.scores[row]), i), **each)
        style = {"fmt": "D", "color": POSITIVE, "capsize": 4, **(errorbar_kw or {})}
        self.errorbars_.append(self.ax_.errorbar(means[rows], at, xerr=deviations[rows], **style))
        self.ax_.set_xlabel(shown(f"{self.score_name}, mean and deviation over folds", 60), **LITERAL)
        self.legend_ = legend_beside(self.ax_, [self.errorbars_[0], self.points_[0]], _OF_FOLDS)

    def _draw_halving(self, ax: Any, bar_kw: Any) -> None:
        if self.resources is None or self.dropped is None:
            raise ValueError(
                "kind='halving' shows what halving gave each candidate, and this search had none; search with "
                "halving=True, or draw kind='candidates'."
            )
        resources, dropped = np.asarray(self.resources, dtype=float), np.asarray(self.dropped, dtype=bool)
        means, _ = self._over_folds()
        rows = self._rows(ax, np.lexsort((-np.nan_to_num(means, nan=-np.inf), -resources, dropped)), _OF_HALVING)
        colors = [QUIET if dropped[row] else POSITIVE for row in rows]
        style = {"color": colors, "height": 0.7, **(bar_kw or {})}
        self.bars_ = self.ax_.barh(range(len(rows)), resources[rows], **style)
        for i, row in enumerate(rows):
            score = "failed" if np.isnan(means[row]) else number(means[row])
            self.text_.append(self.ax_.text(resources[row], i, f" {score}", va="center"))
        rungs = np.unique([*resources[dropped], resources.max()])
        for rung in rungs if len(rungs) <= 6 else []:  # folds may have been dropped at odds with each other
            self.ax_.axvline(rung, color="black", linestyle=":", linewidth=1, zorder=0)
            place = {"transform": self.ax_.get_xaxis_transform(), "ha": "center", "va": "bottom", "fontsize": 9}
            self.text_.append(self.ax_.text(rung, 1.01, f"{(resources >= rung).sum()} got here", **place))
        self.ax_.set_xlim(0, 1.15 * resources.max())
        self.ax_.set_xlabel(shown(f"{self.resource_name} given (at the bar: {self.score_name})", 60), **LITERAL)
        firsts = {_OF_HALVING[int(dropped[row])]: bar for bar, row in zip(self.bars_, rows, strict=True)}
        there = [name for name in _OF_HALVING if name in firsts]
        self.legend_ = legend_beside(self.ax_, [firsts[name] for name in there], there)


def _value(candidate: Mapping[str, Any], name: str) -> Any:
    return candidate.get(name, _ABSENT)


def _named(candidate: Mapping[str, Any], names: Sequence[str]) -> str:
    """A candidate by those of its parameters in which there is a difference."""
    return shown(", ".join(f"{name}={candidate[name]}" for name in names if name in candidate), 44)


def _metric(search: Any, results: Mapping[str, Any], metric: str | None) -> str:
    """The name by which the results have the scores that are asked for."""
    names = [key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_")]
    if metric is None:
        refit = getattr(search, "refit", None)
        metric = "score" if "score" in names else refit if isinstance(refit, str) else None
    if metric is None:
        raise ValueError(f"the search has several metrics, {names}; say which: metric={names[0]!r}.")
    if metric not in names:
        raise unknown("metric", metric, names)
    return metric


def _last_rounds(results: Mapping[str, Any]) -> np.ndarray:
    """The entry of each candidate: where scikit-learn's halving has one for each round, the last."""
    if "iter" not in results:
        return np.arange(len(results["params"]))
    last: dict[str, int] = {}
    for i, params in enumerate(results["params"]):
        last[repr(sorted(params.items(), key=lambda item: item[0]))] = i
    return np.array(list(last.values()))


def _halving(search: Any, results: Mapping[str, Any]) -> tuple[np.ndarray | None, np.ndarray | None, str]:
    """What each entry was given, whether it was dropped, and what it is that was given."""
    if "iter" in results:
        rounds = np.asarray(results["iter"])
        resource = getattr(search, "resource", "n_samples")
        return np.asarray(results["n_resources"]), rounds < rounds.max(), str(resource).replace("n_", "")
    if "dropped" in results:
        return np.asarray(results["n_epochs"]), np.asarray(results["dropped"]), "epochs"
    return None, None, "epochs"
