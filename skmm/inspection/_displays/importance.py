"""What modalities are worth, as bars with their intervals, and what each two say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from skmm.inspection._answers import Names, label
from skmm.inspection._drawing import (
    LITERAL,
    POSITIVE,
    check_kind,
    divided,
    heat_map,
    heat_map_size,
    height_of,
    name_columns,
    name_of_score,
    name_rows,
    pyplot,
    shown,
)
from skmm.inspection.importances import modality_importances

KINDS = ("bars", "synergy", "both")


class ImportanceDisplay:
    """Plot of what each modality is worth, and of what each two say together.

    Make it with :meth:`from_estimator`, or of what :func:`modality_importances` found with
    :meth:`from_importances`.

    Parameters
    ----------
    modalities : list of str or tuple of str
        What the arrays are of.
    importances : ndarray of shape (n_modalities,)
        In units of the score.
    low, high : ndarray of shape (n_modalities,), default=None
        Intervals; none are drawn at None or NaN.
    interactions : ndarray of shape (n_modalities, n_modalities), default=None
        What two give beyond each alone, in units of the score.
    score, baseline : float, default=None
        Score with all modalities and with none, for the title.
    score_name : str, default=None
        Name of the score with its unit; "score" at None.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        What it is drawn on: the bars and the heat map, or one of them.
    figure_ : matplotlib Figure
        The figure with them.
    bars_ : matplotlib BarContainer or None
        Importances, the largest first.
    errorbar_ : matplotlib ErrorbarContainer or None
        Their intervals, if there are any.
    im_ : matplotlib AxesImage or None
        The heat map, its rows and columns in the order of the bars.
    text_ : list of matplotlib Text
        Numbers in it.
    colorbar_ : matplotlib Colorbar or None
        Its scale.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import ImportanceDisplay
    >>> display = ImportanceDisplay(
    ...     modalities=["text", "image"], importances=np.array([0.1, 0.3]), score_name="accuracy"
    ... )
    >>> display = display.plot(Figure().subplots())
    >>> [float(bar.get_width()) for bar in display.bars_]
    [0.3, 0.1]
    >>> display.axes_[0].get_xlabel()
    'Importance (accuracy)'
    """

    def __init__(
        self,
        *,
        modalities: Sequence[Names],
        importances: np.ndarray,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        interactions: np.ndarray | None = None,
        score: float | None = None,
        baseline: float | None = None,
        score_name: str | None = None,
    ) -> None:
        self.modalities = modalities
        self.importances = importances
        self.low = low
        self.high = high
        self.interactions = interactions
        self.score = score
        self.baseline = baseline
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        scoring: Any = None,
        kind: str = "bars",
        ax: Any = None,
        score_name: str | None = None,
        bar_kw: Mapping[str, Any] | None = None,
        errorbar_kw: Mapping[str, Any] | None = None,
        im_kw: Mapping[str, Any] | None = None,
        text_kw: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Self:
        """Compute the importances of a fitted estimator's modalities and draw them.

        Parameters
        ----------
        estimator, X, y, scoring
            As in :func:`modality_importances`.
        kind, ax, score_name, bar_kw, errorbar_kw, im_kw, text_kw
            As in :meth:`plot`. The name of the score is by default that of ``scoring``.
        **params
            Others of :func:`modality_importances`, such as ``method`` and ``random_state``.

        Returns
        -------
        ImportanceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed; before anything is computed.
        ValueError
            As in :func:`modality_importances` and :meth:`plot`.
        """
        pyplot()
        check_kind(kind, KINDS)
        found = modality_importances(estimator, X, y, scoring=scoring, **params)
        if score_name is None:
            score_name = name_of_score(estimator, scoring)
        display = cls._of(found, score_name)
        return display.plot(ax, kind=kind, bar_kw=bar_kw, errorbar_kw=errorbar_kw, im_kw=im_kw, text_kw=text_kw)

    @classmethod
    def from_importances(
        cls, importances: Any, *, score_name: str | None = None, kind: str = "bars", ax: Any = None, **styles: Any
    ) -> Self:
        """Draw what :func:`modality_importances` found.

        Parameters
        ----------
        importances : Bunch
            What it returned.
        score_name, kind, ax, **styles
            As in :meth:`plot`.

        Returns
        -------
        ImportanceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            As in :meth:`plot`.
        """
        return cls._of(importances, score_name).plot(ax, kind=kind, **styles)

    @classmethod
    def _of(cls, found: Any, score_name: str | None) -> Self:
        names = ("modalities", "importances", "low", "high", "interactions", "score", "baseline")
        return cls(**{name: found[name] for name in names}, score_name=score_name)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "bars",
        score_name: str | None = None,
        bar_kw: Mapping[str, Any] | None = None,
        errorbar_kw: Mapping[str, Any] | None = None,
        im_kw: Mapping[str, Any] | None = None,
        text_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the importances.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            What to draw on; a new figure at None. One is divided for ``kind="both"``.
        kind : {"bars", "synergy", "both"}, default="bars"
            The importances, what each two give beyond each alone, as a heat map, or both side by side.
        score_name : str, default=None
            Name of the score with its unit; at None that of the display.
        bar_kw, errorbar_kw, im_kw, text_kw : dict, default=None
            For ``Axes.barh``, ``Axes.errorbar``, ``Axes.imshow`` and the numbers' ``Axes.text``.

        Returns
        -------
        ImportanceDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``kind`` is unknown, or needs interactions that there are none of.
        """
        pyplot()
        check_kind(kind, KINDS)
        if kind != "bars" and self.interactions is None:
            raise ValueError(
                f"kind={kind!r} shows interactions, and these importances have none; modality_importances finds "
                "them with method='shapley' of at most 10 modalities. kind='bars' shows the rest."
            )
        order = np.argsort(-np.asarray(self.importances, dtype=float), kind="stable")
        names = [shown(label(self.modalities[i])) for i in order]
        wide, high = heat_map_size(names, names)
        sizes = {"bars": (6.5, height_of(names)), "synergy": (wide, high), "both": (wide + 4.2, high)}
        self.axes_ = divided(ax, [4.7, wide - 0.5] if kind == "both" else [1.0], sizes[kind])
        self.bars_ = self.errorbar_ = self.im_ = self.colorbar_ = None
        self.text_: list[Any] = []
        unit = score_name or self.score_name or "score"
        if kind != "synergy":
            self._draw_bars(self.axes_[0], order, names, unit, bar_kw, errorbar_kw)
        if kind != "bars":
            own = self.axes_[-1]
            self._draw_synergy(own, order, unit, im_kw, text_kw)
            name_columns(own, names)
            name_rows(own, names if kind == "synergy" else [""] * len(names))
        self.figure_ = self.axes_[0].figure
        return self

    def _draw_bars(
        self, ax: Any, order: np.ndarray, names: list[str], unit: str, bar_kw: Any, errorbar_kw: Any
    ) -> None:
        at = np.arange(len(order))
        values = np.asarray(self.importances, dtype=float)[order]
        self.bars_ = ax.barh(at, values, **{"color": POSITIVE, "height": 0.7, **(bar_kw or {})})
        if self.low is not None and self.high is not None:
            low, high = np.asarray(self.low)[order], np.asarray(self.high)[order]
            there = np.isfinite(low) & np.isfinite(high)
            if there.any():
                # around its own middle: an interval by percentiles need not hold the estimate
                style = {"fmt": "none", "ecolor": "black", "capsize": 4, **(errorbar_kw or {})}
                middle, half = (low + high)[there] / 2, (high - low)[there] / 2
                self.errorbar_ = ax.errorbar(middle, at[there], xerr=half, **style)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_xlabel(f"Importance ({unit})", **LITERAL)
        name_rows(ax, names)
        if self.score is not None:
            without = self.baseline is not None and np.isfinite(self.baseline)
            below = f", {self.baseline:.3g} with none" if without else ""
            ax.set_title(f"{unit}: {self.score:.3g} with all{below}", fontsize="medium", **LITERAL)

    def _draw_synergy(self, ax: Any, order: np.ndarray, unit: str, im_kw: Any, text_kw: Any) -> None:
        values = np.array(self.interactions, dtype=float)[np.ix_(order, order)]
        np.fill_diagonal(values, np.nan)  # nothing is said of one with itself
        self.im_, self.text_, self.colorbar_ = heat_map(
            ax, values, f"Synergy ({unit})", diverging=True, im_kw=im_kw, text_kw=text_kw
        )
        ax.set_title("What two give beyond each alone", fontsize="medium")
