"""Where samples lie in the fused representation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.decomposition import PCA
from sklearn.utils import check_consistent_length

from skmm._missing import missing_cells
from skmm.inspection._drawing import (
    COLORS,
    LITERAL,
    MARKERS,
    QUIET,
    SEQUENTIAL,
    color_of,
    legend_beside,
    legend_size,
    marker_of,
    new_axes,
    pyplot,
    shown,
)
from skmm.inspection._inside import VALID, fitted_model, predictor

_UNKNOWN = "unknown"
_LOOKS = math.lcm(len(COLORS), len(MARKERS))  # pairs of colour and marker


class FusionSpaceDisplay:
    """Plot of the fused representation in two dimensions, by class or by value.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
        Where the samples lie.
    y : ndarray of shape (n_samples,), default=None
        Classes or values; samples without one, None or NaN, are grey.
    continuous : bool, default=False
        Whether ``y`` are values, shown by a colour bar, rather than classes.
    target_name : str, default=None
        What ``y`` is, with its unit; "class" or "value" at None.
    axis_names : tuple of two str, default=("First axis", "Second axis")
        What the two dimensions are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        The figure with it.
    scatters_ : list of matplotlib PathCollection
        The points, of each class by themselves; last those whose class or value is not known, if there are any.
    legend_ : matplotlib Legend or None
        The classes.
    colorbar_ : matplotlib Colorbar or None
        The values.
    text_ : list of matplotlib Text
        Names of classes in their midst, where they are too many for a legend.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import FusionSpaceDisplay
    >>> display = FusionSpaceDisplay(points=np.eye(2), y=np.array(["cat", "dog"])).plot(Figure().subplots())
    >>> [text.get_text() for text in display.legend_.get_texts()]
    ['cat', 'dog']
    """

    def __init__(
        self,
        *,
        points: np.ndarray,
        y: np.ndarray | None = None,
        continuous: bool = False,
        target_name: str | None = None,
        axis_names: Sequence[str] = ("First axis", "Second axis"),
    ) -> None:
        self.points = points
        self.y = y
        self.continuous = continuous
        self.target_name = target_name
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        reducer: Any = None,
        target_name: str | None = None,
        ax: Any = None,
        scatter_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Compute the fused representation of samples, in two dimensions, and draw it.

        Parameters
        ----------
        estimator : fitted estimator
            One with ``transform``, or a pipeline that ends in one, or a search, Pruned or Distilled that fitted
            one.
        X : Blocks, dict of arrays, or whatever ``estimator`` takes
            Samples.
        y : array-like of shape (n_samples,), default=None
            Classes, or the values of a regressor, that colour the samples; grey are those without one, None or
            NaN.
        reducer : transformer, default=None
            What brings the representation to two dimensions by ``fit_transform``, such as
            ``TSNE(random_state=0)``; it is cloned. Default: PCA, whose axes say what share of the variance they
            hold.
        target_name, ax, scatter_kw
            As in :meth:`plot`. The name is by default that of ``y``, where that is a Series.

        Returns
        -------
        FusionSpaceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed; before anything is computed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator has no ``transform``, ``y`` is not one value for each sample, the representation has
            less than two dimensions, or what ``reducer`` makes of it has not two.
        """
        pyplot()
        model = predictor(estimator)
        if not hasattr(model, "transform"):
            name = type(fitted_model(model)).__name__
            raise ValueError(f"{name} has no transform, and so no fused representation to show; {VALID}.")
        if target_name is None and getattr(y, "name", None) is not None:
            target_name = str(y.name)
        if y is not None:
            y = _as_array(y)
            if y.ndim != 1:
                raise ValueError(f"y has the shape {y.shape}, and one value colours a sample; give one column.")
        fused = np.asarray(model.transform(X))
        check_consistent_length(fused, y)
        if fused.shape[1] < 2 or len(fused) < 2:
            raise ValueError(
                f"the fused representation is {fused.shape[1]} numbers of {len(fused)} samples; two axes need at "
                "least 2 of each."
            )
        made = PCA(n_components=2, random_state=0) if reducer is None else clone(reducer)
        points = np.asarray(made.fit_transform(fused))
        if points.shape != (len(fused), 2):
            raise ValueError(
                f"{type(made).__name__} made {points.shape} of {len(fused)} samples, expected ({len(fused)}, 2); "
                "set its n_components=2."
            )
        display = cls(
            points=points,
            y=y,
            continuous=is_regressor(estimator),
            target_name=target_name,
            axis_names=_axis_names(made),
        )
        return display.plot(ax, scatter_kw=scatter_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        target_name: str | None = None,
        scatter_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the samples.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; a new figure at None.
        target_name : str, default=None
            What ``y`` is, with its unit; at None that of the display.
        scatter_kw : dict, default=None
            For ``Axes.scatter``.

        Returns
        -------
        FusionSpaceDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot()
        every = np.asarray(self.points)
        known, y = _known(self.y, continuous=self.continuous)
        points, gone = (every, every[:0]) if y is None else (every[known], every[~known])
        classes, which = _classes_of(None if self.continuous else y)
        parts = [points[which == i] for i in range(len(classes))]
        if len(gone) and not self.continuous:
            classes.append(_UNKNOWN)
        beside = legend_size([shown(each) for each in classes]) if len(classes) <= _LOOKS else (3.0, 8.0)
        ax = new_axes(ax, (6.5 + beside[0], max(5.0, beside[1])))
        self.scatters_: list[Any] = []
        self.text_: list[Any] = []
        self.legend_: Any = None
        self.colorbar_: Any = None
        name = target_name or self.target_name
        style = {"s": 28 if len(every) <= 2000 else 8, "linewidths": 0, "alpha": 0.75, **(scatter_kw or {})}
        if y is None:
            self.scatters_.append(ax.scatter(*points.T, **{"color": COLORS[0], **style}))
        elif self.continuous:
            self.scatters_.append(ax.scatter(*points.T, c=y, **{"cmap": SEQUENTIAL, **style}))
            self.colorbar_ = ax.figure.colorbar(self.scatters_[0], ax=ax)
            grey = f" (grey: {_UNKNOWN})" if len(gone) else ""
            self.colorbar_.set_label(shown(f"{name or 'value'}{grey}"), **LITERAL)
        else:
            self._draw_classes(ax, parts, style)
        if len(gone):
            plain = {key: value for key, value in style.items() if key not in ("cmap", "norm", "vmin", "vmax")}
            self.scatters_.append(ax.scatter(*gone.T, **{"color": QUIET, **plain}))
            parts.append(gone)
        if classes:
            self._name_classes(ax, parts, classes, name or "class")
        ax.set_xlabel(shown(self.axis_names[0], 50), **LITERAL)
        ax.set_ylabel(shown(self.axis_names[1], 50), **LITERAL)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_classes(self, ax: Any, parts: list[np.ndarray], style: Any) -> None:
        for i, points in enumerate(parts):
            look = {"color": color_of(i), "marker": marker_of(i), **style}
            self.scatters_.append(ax.scatter(*points.T, **look))

    def _name_classes(self, ax: Any, parts: list[np.ndarray], classes: list[Any], name: str) -> None:
        if len(classes) <= _LOOKS:
            self.legend_ = legend_beside(ax, self.scatters_, classes, name)
            return
        for points, each in zip(parts, classes, strict=True):  # looks repeat: each name stands among its points
            middle = np.median(points, axis=0)
            self.text_.append(ax.text(*middle, shown(each), fontsize=7, ha="center", va="center", **LITERAL))


def _as_array(y: Any) -> np.ndarray:
    """Classes or values as an array; None and NaN among strings of a list do not become strings."""
    labels = np.asarray(y)
    return np.asarray(y, dtype=object) if labels.dtype.kind in "US" and not hasattr(y, "dtype") else labels


def _known(y: Any, *, continuous: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Which samples have a class, or a finite value, and these."""
    if y is None:
        return np.zeros(0, dtype=bool), None
    labels = _as_array(y)
    known = ~missing_cells(labels)
    if continuous:
        known[known] = np.isfinite(labels[known].astype(float))
        return known, labels[known].astype(float)
    return known, labels[known]


def _classes_of(labels: np.ndarray | None) -> tuple[list[Any], np.ndarray]:
    """The classes, in order, and which each sample is of; of objects by their names."""
    if labels is None:
        return [], np.zeros(0, dtype=int)
    classes, which = np.unique(labels.astype(str) if labels.dtype == object else labels, return_inverse=True)
    return classes.tolist(), which


def _axis_names(reducer: Any) -> tuple[str, str]:
    """What the dimensions are, with their share of the variance where that is known."""
    shares = getattr(reducer, "explained_variance_ratio_", None)
    name = "Principal component" if isinstance(reducer, PCA) else type(reducer).__name__
    if shares is None:
        return f"{name} 1 (no unit)", f"{name} 2 (no unit)"
    return f"{name} 1 ({shares[0]:.0%} of the variance)", f"{name} 2 ({shares[1]:.0%} of the variance)"
