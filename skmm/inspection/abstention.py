"""How unsure a fitted estimator is of each sample, and what is gained where it leaves the least sure ones out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from scipy.special import entr
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, check_consistent_length
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skmm._checks import unknown
from skmm.estimators._base import MultimodalEstimator
from skmm.inspection._drawing import COLORS, LITERAL, legend_beside, new_axes, pyplot

KINDS = ("probability", "entropy", "members", "variation", "heads")
OF_VALUES = ("members", "heads")  # the kinds that a regressor has


def uncertainty(estimator: Any, X: Any, *, kind: str = "members") -> np.ndarray:
    """How unsure a fitted estimator is of each sample: the larger, the less sure.

    Parameters
    ----------
    estimator : fitted estimator
        A multimodal estimator, or a pipeline, search or FrozenEstimator with one. For "probability" and "entropy"
        any classifier with ``predict_proba``.
    X : object
        Samples, as ``estimator`` takes them.
    kind : {"members", "heads", "variation", "entropy", "probability"}, default="members"
        "members": by how much the members disagree: of classes the mutual information of answer and member, in
        nats, known as BALD; of values their standard deviation, in units of y. Only the members differ: experts and
        stack are those of the whole. "heads": the same between the heads, of the fused representation, of each
        modality and of experts, those that a sample has counting alike. "variation": the share of the members that
        would choose another class than most do. "entropy": that of the predicted probabilities, in nats.
        "probability": 1 less the probability of what is predicted. The last three are of classes alone.

    Returns
    -------
    ndarray of shape (n_samples,), or (n_samples, n_outputs) for several values
        Of multilabel targets, labels are taken as independent: their entropies, and mutual informations, are added,
        and "probability" is 1 less that of all labels being right; "variation" is the mean over the labels. To a
        sample without any modality members and heads say nothing, and it is as unsure as the training target is:
        its entropy, deviation, or share that is not the most frequent class.

    Raises
    ------
    ValueError
        If the estimator has no such kind, which the error lists; with one member there are no others to disagree.

    Notes
    -----
    Members, and heads, disagree where there was little to learn from. What is random in the target itself they
    agree on: "entropy" and "probability" see both, and are what to abstain by unless new samples differ from those
    learned from. A sample of which a single head says something has no disagreement of heads: 0.

    References
    ----------
    Houlsby et al. 2011, Bayesian active learning for classification and preference learning, equation 2, for the
    mutual information; Lakshminarayanan et al. 2017, Simple and scalable predictive uncertainty estimation using
    deep ensembles; Freeman 1965, Elementary applied statistics, for the variation ratio.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import MultimodalRegressor
    >>> from skmm.inspection import uncertainty
    >>> rng = np.random.default_rng(0)
    >>> X = {"table": rng.normal(size=(60, 3)), "sensor": rng.normal(size=(60, 2))}
    >>> y = X["table"][:, 0] + X["sensor"][:, 0]
    >>> reg = MultimodalRegressor(n_members=2, max_epochs=5, experts=None, random_state=0).fit(X, y)
    >>> uncertainty(reg, X).shape
    (60,)
    >>> contradicts = {"table": np.full((1, 3), 5.0), "sensor": np.full((1, 2), -5.0)}
    >>> bool(uncertainty(reg, contradicts, kind="heads")[0] > 2 * np.median(uncertainty(reg, X, kind="heads")))
    True
    """
    check_is_fitted(estimator)
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if kind in ("probability", "entropy"):
        return _of_probabilities(estimator, X, kind)
    model, X = unwrapped(estimator, X)
    said = _said(model, X, kind)
    if not is_classifier(model):
        spread = _spread(said, model._target.deviation)
        return spread[:, 0] if model._target.single else spread
    if kind == "variation":
        return _variation(said, model)
    return _mutual_information(said, model)


def unwrapped(estimator: Any, X: Any = None) -> tuple[Any, Any]:
    """What answers inside of pipelines, searches and frozen estimators, and what it is given of X."""
    while True:
        if isinstance(estimator, Pipeline):
            if X is not None and len(estimator) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator, X


def check_probabilities(proba: Any) -> np.ndarray:
    """Probabilities of classes of which one is right, (n, C); others are refused."""
    if isinstance(proba, list):
        raise ValueError(f"predict_proba gives a list of {len(proba)} arrays, of as many outputs; one is needed.")
    proba = np.asarray(proba, dtype=np.float64)
    wrong = ~(np.abs(proba.sum(axis=1) - 1) < 1e-3)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"predict_proba, row {row}: the probabilities sum to {proba[row].sum():.4g}, not to 1, as those of "
            "classes do of which one is right. Of a multilabel target take one label at a time."
        )
    return proba


def _of_probabilities(estimator: Any, X: Any, kind: str) -> np.ndarray:
    if not hasattr(estimator, "predict_proba"):
        valid = OF_VALUES if isinstance(unwrapped(estimator)[0], MultimodalEstimator) else ()
        raise ValueError(
            f"kind={kind!r} needs the probabilities of classes, which {type(estimator).__name__} does not predict; "
            f"valid for it are {list(valid)}."
        )
    model, _ = unwrapped(estimator)
    proba = estimator.predict_proba(X)
    if isinstance(model, MultimodalEstimator) and not model._target.competing:
        both = np.stack([proba, 1 - proba])
        return entr(both).sum(axis=(0, 2)) if kind == "entropy" else 1 - both.max(axis=0).prod(axis=1)
    proba = check_probabilities(proba)
    return entr(proba).sum(axis=1) if kind == "entropy" else 1 - proba.max(axis=1)


def _said(model: Any, X: Any, kind: str) -> np.ndarray:
    """Probabilities or values (n, S, C) of those who may disagree, NaN of those that say nothing of a sample."""
    if not isinstance(model, MultimodalEstimator):
        raise ValueError(
            f"{type(model).__name__} has no members or heads that could disagree, kind={kind!r}; valid for it are "
            f"{['probability', 'entropy'] if is_classifier(model) else []}."
        )
    if kind == "variation" and not is_classifier(model):
        raise ValueError(f"kind='variation' is of classes; valid for a regressor are {list(OF_VALUES)}.")
    if kind == "heads":
        by_head = model._finished_by_head(X).values()
        said = np.stack([x.reshape(len(x), -1) for x in by_head], axis=1)
        lacking = "set modality_loss above 0, or give it experts"
    else:
        said = model._finished_by_member(X)
        lacking = "set n_members=8"
    if said.shape[1] < 2:
        raise ValueError(f"kind={kind!r}: one alone predicts, and there is nobody to disagree; {lacking}.")
    return said


def _mean(said: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean (n, C) of those that speak, who they are (n, S, 1), and the samples of which nobody does (n,)."""
    speaks = ~np.isnan(said[:, :, :1])
    count = speaks.sum(axis=1)
    return np.where(speaks, said, 0).sum(axis=1) / count.clip(min=1), speaks, count[:, 0] == 0


def _spread(said: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Standard deviation of values (n, S, C) over those that speak; ``deviation`` (C,) where nobody does."""
    mean, speaks, silent = _mean(said)
    squares = np.where(speaks, (said - mean[:, None]) ** 2, 0).sum(axis=1)
    return np.where(silent[:, None], deviation, np.sqrt(squares / speaks.sum(axis=1).clip(min=1)))


def _entropy(proba: np.ndarray, *, competing: bool) -> np.ndarray:
    proba = proba.clip(0, 1)  # a mean is off by a rounding
    return (entr(proba) if competing else entr(proba) + entr(1 - proba)).sum(axis=-1)


def _mutual_information(said: np.ndarray, model: Any) -> np.ndarray:
    """Entropy of the mean of probabilities (n, S, C) less the mean of their entropies, over those that speak."""
    competing = model._target.competing
    mean, speaks, silent = _mean(said)
    own = np.where(speaks[:, :, 0], _entropy(np.where(speaks, said, 0.5), competing=competing), 0)
    found = _entropy(mean, competing=competing) - own.sum(axis=1) / speaks.sum(axis=(1, 2)).clip(min=1)
    prior = model._target.finish(model._target.prior[None])
    return np.where(silent, _entropy(prior, competing=competing), found.clip(min=0))


def _variation(said: np.ndarray, model: Any) -> np.ndarray:
    """Share of those who say (n, S, C) that would choose otherwise than most."""
    silent = np.isnan(said[:, 0, 0])
    prior = model._target.finish(model._target.prior[None])[0]
    if not model._target.competing:
        share = np.where(silent[:, None], prior, (said > 0.5).mean(axis=1))
        return np.minimum(share, 1 - share).mean(axis=1)
    votes = np.eye(said.shape[2])[np.nan_to_num(said).argmax(axis=2)]  # (n, S, C)
    return 1 - np.where(silent[:, None], prior, votes.mean(axis=1)).max(axis=1)


# -- abstaining ----------------------------------------------------------------------------------------------------

LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "zero_one": lambda y, said: (y != said).reshape(len(y), -1).any(axis=1).astype(float),
    "absolute_error": lambda y, said: np.abs(y - said),
    "squared_error": lambda y, said: (y - said) ** 2,
}
_LABELS = {
    "zero_one": "Error rate of those answered",
    "absolute_error": "Mean absolute error of those answered (units of y)",
    "squared_error": "Mean squared error of those answered (squared units of y)",
}


def risk_coverage_curve(loss: Any, uncertainty: Any) -> Bunch:
    """The mean loss of those samples that are answered, where the least sure ones are not.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, such as 1 where it is wrong and 0 where it is right.
    uncertainty : array-like of shape (n_samples,)
        How unsure each prediction is, the larger the less sure, as :func:`uncertainty` gives it.

    Returns
    -------
    curve : Bunch
        With the attributes

        coverage : ndarray of shape (n_samples,)
            Share of the samples that are answered, the surest first: 1/n, 2/n, ... 1.
        risk : ndarray of shape (n_samples,)
            Their mean loss. Samples of equal uncertainty count with the mean of theirs, whatever their order.
        thresholds : ndarray of shape (n_samples,)
            The largest uncertainty among them: what to abstain above for such a coverage.
        area : float
            Mean of the risk over all coverages, known as AURC: the lower, the better.
        oracle : ndarray of shape (n_samples,)
            The risk if all were ordered by their loss itself, below which no order comes.
        oracle_area, random_area : float
            Areas of that order, and of a random one, which is the mean loss.

    Raises
    ------
    ValueError
        If the lengths differ, there are no samples, a loss is not finite, or an uncertainty is NaN.

    References
    ----------
    El-Yaniv and Wiener 2010, On the foundations of noise-free selective classification; Geifman and El-Yaniv 2017,
    Selective classification for deep neural networks; Geifman et al. 2019, Bias-reduced uncertainty estimation for
    deep neural classifiers, for the area and that of the oracle.

    Examples
    --------
    >>> from skmm.inspection import risk_coverage_curve
    >>> curve = risk_coverage_curve(loss=[0, 1, 0, 0], uncertainty=[0.1, 0.4, 0.2, 0.3])
    >>> curve.risk.tolist(), curve.area
    ([0.0, 0.0, 0.0, 0.25], 0.0625)
    """
    lost = column_or_1d(loss, dtype=np.float64)
    unsure = column_or_1d(uncertainty, dtype=np.float64)
    check_consistent_length(lost, unsure)
    if not len(lost):
        raise ValueError("loss is empty; at least one sample is needed.")
    for name, wrong in (("loss", ~np.isfinite(lost)), ("uncertainty", np.isnan(unsure))):
        if wrong.any():
            value = (lost if name == "loss" else unsure)[wrong.argmax()]
            raise ValueError(f"{name}, row {wrong.argmax()}: {value} cannot be averaged or ordered.")
    order = np.argsort(unsure, kind="stable")
    thresholds, which, counts = np.unique(unsure, return_inverse=True, return_counts=True)
    tied = np.bincount(which, lost) / counts
    number = np.arange(1, len(lost) + 1)
    risk = np.cumsum(tied[which[order]]) / number
    oracle = np.cumsum(np.sort(lost)) / number
    return Bunch(
        coverage=number / len(lost),
        risk=risk,
        thresholds=thresholds[which[order]],
        area=float(risk.mean()),
        oracle=oracle,
        oracle_area=float(oracle.mean()),
        random_area=float(lost.mean()),
    )


class RiskCoverageDisplay:
    """Plot of the mean loss of the samples that are answered against their share.

    Make it with :meth:`from_estimator` or :meth:`from_predictions`, or from the arrays of
    :func:`risk_coverage_curve`. Several go on one axes: ``RiskCoverageDisplay.from_estimator(..., ax=first.ax_)``.

    Parameters
    ----------
    coverage, risk : ndarray of shape (n_samples,)
        Shares of the samples that are answered, and their mean loss.
    area : float
        Mean of the risk.
    oracle : ndarray of shape (n_samples,), default=None
        The risk of the best order; None draws neither it nor the mean loss, that of a random one.
    name : str, default=None
        Of the curve, in the legend.
    risk_name : str, default=None
        Label of the vertical axis; "Risk" at None.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        The figure with it.
    line_ : matplotlib Line2D
        The curve.
    oracle_line_, random_line_ : matplotlib Line2D or None
        The risks of the best order and of a random one.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import RiskCoverageDisplay
    >>> display = RiskCoverageDisplay.from_predictions(
    ...     ["a", "b", "a"], ["a", "b", "b"], [0.1, 0.2, 0.4], ax=Figure().subplots(), name="largest probability"
    ... )
    >>> display.line_.get_label()
    'largest probability (area 0.111)'
    """

    def __init__(
        self,
        *,
        coverage: np.ndarray,
        risk: np.ndarray,
        area: float,
        oracle: np.ndarray | None = None,
        name: str | None = None,
        risk_name: str | None = None,
    ) -> None:
        self.coverage = coverage
        self.risk = risk
        self.area = area
        self.oracle = oracle
        self.name = name
        self.risk_name = risk_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        kind: str | None = None,
        loss: Any = None,
        name: str | None = None,
        references: bool = True,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Predict samples of known y, and draw the curve.

        Parameters
        ----------
        estimator : fitted estimator
            As in :func:`uncertainty`.
        X : object
            Samples, as a rule such as were not learned from.
        y : array-like of shape (n_samples,), or of labels (n_samples, n_labels)
            Target.
        kind : str, default=None
            As in :func:`uncertainty`; None is "probability", of a regressor "members".
        loss : {"zero_one", "absolute_error", "squared_error"} or callable, default=None
            As in :meth:`from_predictions`; None is "zero_one", of a regressor "absolute_error".
        name : str, default=None
            Of the curve; None is the kind.
        references, ax, line_kw
            As in :meth:`from_predictions`.

        Returns
        -------
        RiskCoverageDisplay

        Raises
        ------
        ValueError
            If several values of a sample are predicted: draw one of them by :meth:`from_predictions`.
        ImportError
            If matplotlib is not installed; before anything is computed.
        """
        pyplot()
        classify = is_classifier(estimator)
        kind = kind or ("probability" if classify else "members")
        loss = loss or ("zero_one" if classify else "absolute_error")
        unsure = uncertainty(estimator, X, kind=kind)
        if unsure.ndim > 1:
            raise ValueError(
                f"{unsure.shape[1]} values of each sample are predicted, which have no order in common; draw one: "
                "from_predictions(y[:, 0], estimator.predict(X)[:, 0], uncertainty(estimator, X)[:, 0], "
                "loss='absolute_error')."
            )
        said = estimator.predict(X)
        return cls.from_predictions(
            y, said, unsure, loss=loss, name=name or kind, references=references, ax=ax, line_kw=line_kw
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        y_pred: Any,
        uncertainty: Any,
        *,
        loss: Any = "zero_one",
        name: str | None = None,
        references: bool = True,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curve of predictions.

        Parameters
        ----------
        y, y_pred : array-like of shape (n_samples,), or of labels (n_samples, n_labels)
            Target and predictions; of several labels one wrong makes the sample wrong.
        uncertainty : array-like of shape (n_samples,)
            The larger, the less sure.
        loss : {"zero_one", "absolute_error", "squared_error"} or callable, default="zero_one"
            Of each sample; a callable gives (n_samples,) of ``y`` and ``y_pred``.
        name : str, default=None
            Of the curve.
        references : bool, default=True
            Whether to draw what a perfect and a random order would give as well.
        ax, line_kw
            As in :meth:`plot`.

        Returns
        -------
        RiskCoverageDisplay
        """
        if not callable(loss) and loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        y, y_pred = np.asarray(y), np.asarray(y_pred)
        if y.shape != y_pred.shape:
            raise ValueError(f"y has the shape {y.shape}, and y_pred {y_pred.shape}; they must be the same.")
        curve = risk_coverage_curve((loss if callable(loss) else LOSSES[loss])(y, y_pred), uncertainty)
        own = f"Mean {getattr(loss, '__name__', 'loss').replace('_', ' ')} of those answered"
        display = cls(
            coverage=curve.coverage,
            risk=curve.risk,
            area=curve.area,
            oracle=curve.oracle if references else None,
            name=name,
            risk_name=own if callable(loss) else _LABELS[loss],
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: Any = None, *, name: str | None = None, line_kw: Mapping[str, Any] | None = None) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; a new figure at None.
        name : str, default=None
            Of the curve, in the legend; at None that of the display.
        line_kw : dict, default=None
            For ``Axes.plot``, which draws the curve.

        Returns
        -------
        RiskCoverageDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = new_axes(ax, (8.0, 4.2))
        if not ax.has_data():
            ax.set_prop_cycle(color=COLORS)
        label = f"{name or self.name or 'uncertainty'} (area {self.area:.3g})"
        (self.line_,) = ax.plot(self.coverage, self.risk, **{"label": label, **(line_kw or {})})
        self.oracle_line_ = self.random_line_ = None
        if self.oracle is not None:
            grey = {"color": "0.4", "linewidth": 1}
            best = f"perfect order (area {self.oracle.mean():.3g})"
            (self.oracle_line_,) = ax.plot(self.coverage, self.oracle, linestyle=":", label=best, **grey)
            mean = float(self.oracle[-1])
            self.random_line_ = ax.axhline(mean, linestyle="--", label=f"random order (area {mean:.3g})", **grey)
        ax.xaxis.set_major_formatter("{x:.0%}")
        ax.set_xlabel("Coverage: samples answered, the surest first")
        ax.set_ylabel(self.risk_name or "Risk", **LITERAL)
        lines = ax.get_lines()
        legend_beside(ax, lines, [line.get_label() for line in lines])
        self.ax_, self.figure_ = ax, ax.figure
        return self
