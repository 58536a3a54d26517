"""A comparison of fusions and baselines: their scores by fold, and how sure the differences are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from skmm.inspection._drawing import (
    LITERAL,
    NEGATIVE,
    POSITIVE,
    QUIET,
    check_kind,
    divided,
    height_of,
    legend_beside,
    legend_size,
    name_rows,
    pyplot,
    shown,
)

KINDS = ("differences", "scores", "both")


class ComparisonDisplay:
    """Plot of how fusions and baselines score, and of how much better than the best baseline each fusion is.

    Make it with :meth:`from_comparison`, of what :func:`~skmm.model_selection.compare_fusions` found.

    Parameters
    ----------
    methods : list of str
        Fusions and baselines, the best first.
    kinds : list of str
        "fusion" or "baseline", of each.
    scores : list of ndarray of shape (n_folds,)
        Scores of each by fold.
    fusions : list of str
        The fusions that are compared with the best baseline; none where there is no baseline.
    differences, low, high : ndarray of shape (n_fusions,)
        By how much each is better, over the folds, and the interval of that.
    baseline : str or None
        The best baseline.
    metric : str, default="score"
        Name of the score.
    confidence : float, default=0.95
        Level of the intervals.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        What it is drawn on: differences and scores, or one of them.
    figure_ : matplotlib Figure
        The figure with them.
    errorbars_ : list of matplotlib ErrorbarContainer
        Differences with their intervals, one for each fusion.
    zero_line_ : matplotlib Line2D or None
        Where fusion and baseline are alike.
    points_ : list of matplotlib Line2D
        Scores by fold, one for each method.
    means_ : list of matplotlib Line2D
        Their means.
    legend_ : matplotlib Legend or None
        Which are fusions and which baselines.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import ComparisonDisplay
    >>> display = ComparisonDisplay(
    ...     methods=["mfb", "LR"],
    ...     kinds=["fusion", "baseline"],
    ...     scores=[[0.9, 0.8], [0.7, 0.8]],
    ...     fusions=["mfb"],
    ...     differences=[0.1],
    ...     low=[-0.1],
    ...     high=[0.3],
    ...     baseline="LR",
    ...     metric="accuracy",
    ... )
    >>> [text.get_text() for text in display.plot(Figure().subplots()).axes_[0].get_yticklabels()]
    ['mfb']
    """

    def __init__(
        self,
        *,
        methods: Sequence[str],
        kinds: Sequence[str],
        scores: Sequence[Any],
        fusions: Sequence[str],
        differences: Any,
        low: Any,
        high: Any,
        baseline: str | None,
        metric: str = "score",
        confidence: float = 0.95,
    ) -> None:
        self.methods = methods
        self.kinds = kinds
        self.scores = scores
        self.fusions = fusions
        self.differences = differences
        self.low = low
        self.high = high
        self.baseline = baseline
        self.metric = metric
        self.confidence = confidence

    @classmethod
    def from_comparison(cls, comparison: Any, *, kind: str = "differences", ax: Any = None, **styles: Any) -> Self:
        """Draw a comparison.

        Parameters
        ----------
        comparison : FusionComparison
            What :func:`~skmm.model_selection.compare_fusions` returned.
        kind, ax, **styles
            As in :meth:`plot`.

        Returns
        -------
        ComparisonDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``comparison`` is no such thing.
        ValueError
            As in :meth:`plot`.
        """
        pyplot()
        if not all(hasattr(comparison, name) for name in ("summary", "differences", "scores", "metric")):
            raise TypeError(f"comparison must be what compare_fusions returned, got {type(comparison).__name__}.")
        methods, rows = comparison.summary["method"], list(comparison.differences)
        display = cls(
            methods=methods,
            kinds=comparison.summary["kind"],
            scores=[comparison.scores[name][comparison.metric] for name in methods],
            fusions=[row["fusion"] for row in rows],
            **{
                name: np.array([row[key] for row in rows], dtype=float)
                for name, key in {"differences": "difference", "low": "low", "high": "high"}.items()
            },
            baseline=rows[0]["baseline"] if rows else None,
            metric=comparison.metric,
            confidence=comparison.confidence,
        )
        return display.plot(ax, kind=kind, **styles)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "differences",
        errorbar_kw: Mapping[str, Any] | None = None,
        line_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the comparison.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            What to draw on; a new figure at None. One is divided for ``kind="both"``.
        kind : {"differences", "scores", "both"}, default="differences"
            How much better than the best baseline each fusion is, with the paired interval; the scores of all by
            fold; or both side by side.
        errorbar_kw, line_kw : dict, default=None
            For ``Axes.errorbar``, which draws differences, and ``Axes.plot``, which draws scores by fold.

        Returns
        -------
        ComparisonDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``kind`` is unknown, or needs a baseline where there is none.
        """
        pyplot()
        check_kind(kind, KINDS)
        if kind != "scores" and not len(self.fusions):
            raise ValueError(
                f"kind={kind!r} shows differences from the best baseline, and nothing was compared with one; call "
                "compare_fusions with baselines, or draw kind='scores'."
            )
        parts = ["differences", "scores"] if kind == "both" else [kind]
        listed = {"differences": self.fusions, "scores": self.methods}
        names = {part: [shown(name) for name in listed[part]] for part in parts}
        beside, high = legend_size(sorted(set(self.kinds))) if "scores" in parts else (0.0, 0.0)
        size = (beside + (10.0 if kind == "both" else 6.5), max(high, *map(height_of, names.values())))
        self.axes_ = divided(ax, [1.0] * len(parts), size)
        self.errorbars_: list[Any] = []
        self.points_: list[Any] = []
        self.means_: list[Any] = []
        self.zero_line_: Any = None
        self.legend_: Any = None
        for own, part in zip(self.axes_, parts, strict=True):
            if part == "differences":
                self._draw_differences(own, errorbar_kw)
            else:
                self._draw_scores(own, line_kw)
            name_rows(own, names[part])
        self.figure_ = self.axes_[0].figure
        return self

    def _draw_differences(self, ax: Any, errorbar_kw: Any) -> None:
        self.zero_line_ = ax.axvline(0, color="black", linestyle="--", linewidth=1)
        for i, (middle, low, high) in enumerate(zip(self.differences, self.low, self.high, strict=True)):
            color = POSITIVE if low > 0 else NEGATIVE if high < 0 else QUIET
            style = {"fmt": "o", "color": color, "capsize": 4, **(errorbar_kw or {})}
            self.errorbars_.append(ax.errorbar([middle], [i], xerr=[[middle - low], [high - middle]], **style))
        ax.set_xlabel(
            f"Better than {shown(self.baseline)} by ({shown(self.metric)}),\n{self.confidence:.0%} interval",
            **LITERAL,
        )

    def _draw_scores(self, ax: Any, line_kw: Any) -> None:
        looks = {"fusion": (POSITIVE, "o"), "baseline": ("#E69F00", "s")}
        handles: dict[str, Any] = {}
        for i, (kind, values) in enumerate(zip(self.kinds, self.scores, strict=True)):
            color, marker = looks[kind]
            each = {"linestyle": "none", "marker": marker, "color": color, "alpha": 0.5, "markersize": 5}
            (points,) = ax.plot(values, np.full(len(values), i), **{**each, **(line_kw or {})})
            (mean,) = ax.plot(
                [np.mean(values)], [i], linestyle="none", marker="|", markersize=18, color=color, mew=3
            )
            self.points_.append(points)
            self.means_.append(mean)
            handles.setdefault(kind, points)
        ax.set_xlabel(f"{shown(self.metric)} of each fold, and mean", **LITERAL)
        self.legend_ = legend_beside(ax, list(handles.values()), list(handles))
