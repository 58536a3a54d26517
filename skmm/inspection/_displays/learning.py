"""How training went: losses and scores by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier, is_regressor

from skmm._optional import import_optional
from skmm.inspection._drawing import (
    COLORS,
    FEW,
    LITERAL,
    divided,
    legend_beside,
    legend_size,
    literal_legend,
    marker_of,
    pyplot,
    shown,
)
from skmm.inspection._inside import VALID, fitted_model

_TRAIN, _VALID = "train_loss", "valid_loss"


class LearningCurveDisplay:
    """Plot of the losses, and of what scores callbacks recorded, by epoch of training.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    epochs : ndarray of shape (n_epochs,)
        Numbers of the epochs, from 1.
    losses : dict of str to ndarray of shape (n_epochs,)
        Losses by name; of members the mean.
    members : dict of str to ndarray of shape (n_epochs, n_members), default=None
        The losses of each member by itself, by the same names.
    scores : dict of str to ndarray of shape (n_epochs,), default=None
        What else was recorded of each epoch; NaN where it was not.
    best_epoch : int, default=None
        The epoch whose weights are kept, for its validation loss, where training held a part out; of members, each
        of which keeps its own, that of their mean.
    max_epochs : int, default=None
        Epochs that were planned, where training stopped before.
    loss_name : str, default="Loss"
        Name of the loss with its unit.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        What it is drawn on: losses, and scores if there are any.
    figure_ : matplotlib Figure
        The figure with them.
    lines_ : dict of str to matplotlib Line2D
        Losses and scores by name.
    member_lines_ : list of matplotlib Line2D
        Losses of the members, paler.
    best_line_ : matplotlib Line2D or None
        The best epoch.
    legends_ : list of matplotlib Legend
        Which line is what.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import LearningCurveDisplay
    >>> display = LearningCurveDisplay(
    ...     epochs=np.arange(1, 4), losses={"train_loss": np.array([0.7, 0.5, 0.4])}, best_epoch=2
    ... )
    >>> list(display.plot(Figure().subplots()).best_line_.get_xdata())
    [2, 2]
    """

    def __init__(
        self,
        *,
        epochs: np.ndarray,
        losses: Mapping[str, np.ndarray],
        members: Mapping[str, np.ndarray] | None = None,
        scores: Mapping[str, np.ndarray] | None = None,
        best_epoch: int | None = None,
        max_epochs: int | None = None,
        loss_name: str = "Loss",
    ) -> None:
        self.epochs = epochs
        self.losses = losses
        self.members = members
        self.scores = scores
        self.best_epoch = best_epoch
        self.max_epochs = max_epochs
        self.loss_name = loss_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        loss_name: str | None = None,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            One with ``history_``; or a pipeline that ends in one, or a search, Pruned or Distilled that fitted one.
        loss_name, ax, line_kw
            As in :meth:`plot`. By default the name says the unit: nats of classifiers, of regressors that of the
            loss of a target that is scaled to its deviation.

        Returns
        -------
        LearningCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it has no history of epochs.
        """
        pyplot()
        model = fitted_model(estimator)
        rows = [row for row in getattr(model, "history_", None) or [] if _TRAIN in row]
        if not rows:
            raise ValueError(
                f"{type(model).__name__} has no history of epochs to show, which estimators of skmm keep as "
                f"history_; {VALID}."
            )
        recorded = _numbers_of(rows)
        losses = {name: recorded.pop(name) for name in (_TRAIN, _VALID) if name in recorded}
        best = _kept(losses[_VALID], getattr(model, "tol", 0.0)) if _VALID in losses else None
        if loss_name is None:
            loss_name = f"Loss{_unit(model)}"
        planned = getattr(getattr(model, "net_", None), "max_epochs", None)
        display = cls(
            epochs=np.arange(1, len(rows) + 1),
            losses=losses,
            members={name: own for name in losses if (own := _of_members(rows, name)) is not None},
            scores=recorded,
            best_epoch=best,
            max_epochs=planned if planned is not None and best is not None and len(rows) < planned else None,
            loss_name=loss_name,
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(
        self, ax: Any = None, *, loss_name: str | None = None, line_kw: Mapping[str, Any] | None = None
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            What to draw on; a new figure at None. One is divided if there are scores.
        loss_name : str, default=None
            Name of the loss with its unit; at None that of the display.
        line_kw : dict, default=None
            For ``Axes.plot``, which draws the curves.

        Returns
        -------
        LearningCurveDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot()
        scores = dict(self.scores or {})
        curves: Sequence[Any] = [(loss_name or self.loss_name, self.losses), ("Score", scores)]
        besides = [legend_size([shown(name) for name in own]) if len(own) > FEW else (0, 0) for _, own in curves]
        widths = [5.0 + wide for (wide, _), (_, own) in zip(besides, curves, strict=True) if own]
        self.axes_ = divided(ax, widths, (0.8 + sum(widths), max(4.0, *(high for _, high in besides))))
        self.lines_: dict[str, Any] = {}
        self.member_lines_: list[Any] = []
        self.best_line_: Any = None
        self.legends_: list[Any] = []
        for own, (label, values) in zip(self.axes_, curves, strict=False):
            self._draw(own, label, values, line_kw)
        self.figure_ = self.axes_[0].figure
        return self

    def _draw(self, ax: Any, label: str, curves: Mapping[str, np.ndarray], line_kw: Any) -> None:
        names = {_TRAIN: "training", _VALID: "validation"}
        members = dict(self.members or {}) if curves is self.losses else {}
        handles, shown_names, of_members = [], [], []
        for i, (name, values) in enumerate(curves.items()):
            few = marker_of(i) if len(self.epochs) <= 30 else None
            style = {"color": COLORS[i % len(COLORS)], "marker": few, "markersize": 4, **(line_kw or {})}
            (line,) = ax.plot(self.epochs, values, **style)
            self.lines_[name] = line
            handles.append(line)
            shown_names.append(names.get(name, name))
            if name in members:
                pale = {"color": line.get_color(), "alpha": 0.3, "linewidth": 0.8, "zorder": 1}
                of_members += ax.plot(self.epochs, members[name], **pale)
        if of_members:
            handles.append(of_members[0])
            shown_names.append("each member")
            self.member_lines_ += of_members
        if self.best_epoch is not None:
            line = ax.axvline(self.best_epoch, color="black", linestyle="--", linewidth=1)
            self.best_line_ = self.best_line_ or line
            stopped = f", stopped after {len(self.epochs)} of {self.max_epochs}" if self.max_epochs else ""
            handles.append(line)
            of_mean = " (mean)" if of_members else ""
            shown_names.append(f"best epoch{of_mean}: {self.best_epoch}{stopped}")
        ax.set_xlabel("Epoch")
        ax.set_ylabel(shown(label), **LITERAL)
        ax.xaxis.set_major_locator(import_optional("matplotlib.ticker", extra="plot").MaxNLocator(integer=True))
        place = legend_beside if len(curves) > FEW else literal_legend
        self.legends_.append(place(ax, handles, shown_names))


def _numbers_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What was recorded of epochs, by name, without what the training loop notes for itself."""
    names = dict.fromkeys(name for row in rows for name in row)
    own = ("epoch", "dur", "batches")
    chosen = [
        name
        for name in names
        if name not in own
        and not name.endswith(("_best", "_batch_count"))
        and not name.startswith("event_")
        and all(isinstance(row.get(name, 0.0), Real) for row in rows)
    ]
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=float) for name in chosen}


def _of_members(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray | None:
    """The loss of each member by epoch, (n_epochs, K), which stands with the last batch; None where it does not."""
    key = f"{name}es"
    told = [batch[key] for row in rows for batch in row.get("batches", []) if key in batch]
    same = len(told) == len(rows) and len({len(own) for own in told}) == 1
    return np.array(told, dtype=float) if same else None


def _kept(losses: np.ndarray, tol: float) -> int | None:
    """The epoch after which none was lower by more than ``tol``, as early stopping looks at it."""
    kept, lowest = None, np.inf
    for epoch, loss in enumerate(losses, start=1):
        if loss < lowest - tol:
            kept, lowest = epoch, loss
    return kept


def _unit(model: Any) -> str:
    """What the training loss of an estimator is counted in."""
    return " (nats)" if is_classifier(model) else " (of the target in deviations)" if is_regressor(model) else ""
