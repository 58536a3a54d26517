"""Sets of classes, and intervals of values, that hold the truth as often as was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    is_classifier,
    is_regressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from skmm._checks import unknown
from skmm._devices import draw_seed
from skmm.estimators._base import MultimodalEstimator
from skmm.inspection.abstention import OF_VALUES, check_probabilities, uncertainty, unwrapped

_FLOOR = 0.01  # of the target's deviation, added to a spread: members that agree are not always right


def conformal(
    estimator: Any, X_cal: Any = None, y_cal: Any = None, *, alpha: float = 0.1, **params: Any
) -> ConformalClassifier | ConformalRegressor:
    """Sets of classes, or intervals of values, for what a fitted estimator predicts.

    Parameters
    ----------
    estimator : fitted estimator
        A classifier with ``predict_proba`` or a regressor, of this package or any other.
    X_cal : object, default=None
        Samples that it was not fitted to, as it takes them. None takes its own out-of-fold predictions, for which a
        multimodal estimator of several members needs neither a sample more nor a fit.
    y_cal : array-like of shape (n_samples,), or of values (n_samples, n_outputs)
        Their target; without ``X_cal`` the y that the estimator was fitted to.
    alpha : float, default=0.1
        How often the truth may be missed.
    **params
        Further parameters of :class:`ConformalClassifier` or :class:`ConformalRegressor`.

    Returns
    -------
    ConformalClassifier or ConformalRegressor
        Fitted.

    Raises
    ------
    ValueError
        As the ``fit`` of these, or if the estimator is neither classifier nor regressor.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import MultimodalClassifier
    >>> from skmm.inspection import conformal
    >>> rng = np.random.default_rng(0)
    >>> X = {"table": rng.normal(size=(90, 3)), "sensor": rng.normal(size=(90, 2))}
    >>> y = np.array(["no", "yes"])[(X["table"][:, 0] > 0).astype(int)]
    >>> clf = MultimodalClassifier(n_members=2, max_epochs=5, experts=None, random_state=0).fit(X, y)
    >>> sets = conformal(clf, y_cal=y, alpha=0.2)  # from its out-of-fold predictions
    >>> sets.predict_set(X).shape
    (90, 2)
    """
    if is_classifier(estimator):
        return ConformalClassifier(estimator, alpha=alpha, **params).fit(X_cal, y_cal)
    if is_regressor(estimator):
        return ConformalRegressor(estimator, alpha=alpha, **params).fit(X_cal, y_cal)
    raise ValueError(f"{type(estimator).__name__} is neither classifier nor regressor: nothing to make sets of.")


def check_alpha(alpha: Any) -> Fraction:
    """alpha as the number that was written, 0.1 as 1/10, so that no rounding moves a quantile."""
    if not isinstance(alpha, Real) or isinstance(alpha, bool) or not 0 < float(alpha) < 1:
        raise ValueError(f"alpha={alpha!r} must be a number between 0 and 1, both excluded; 0.1 misses one of ten.")
    return Fraction(repr(float(alpha)))


def quantile(scores: np.ndarray, alpha: Any, of: str = "calibration") -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n sorted scores.

    Raises
    ------
    ValueError
        If there are too few scores for such an alpha, which takes ceil(1 / alpha) - 1.
    """
    share, n = check_alpha(alpha), len(scores)
    rank = math.ceil((n + 1) * (1 - share))
    if rank > n:
        raise ValueError(
            f"alpha={alpha!r} needs at least {math.ceil(1 / share) - 1} samples of {of}, there are {n}. Give more, "
            f"or take an alpha of at least {math.ceil(1e4 / (n + 1)) / 1e4:g}."
        )
    return float(scores[rank - 1])


class _Conformal(MetaEstimatorMixin, BaseEstimator):
    """What sets and intervals share: whose predictions they are, and of what they are calibrated."""

    estimator: Any
    alpha: float
    scores_: list[np.ndarray]

    def _check(self, y: Any) -> None:
        """Refuse what does not depend on the samples."""
        check_alpha(self.alpha)
        try:
            check_is_fitted(self.estimator)
        except NotFittedError as error:
            raise NotFittedError(
                f"{type(self).__name__} makes sets of what a fitted estimator predicts, and this "
                f"{type(self.estimator).__name__} is not fitted: fit it first. In clones it stays fitted inside of "
                "sklearn.frozen.FrozenEstimator."
            ) from error
        if y is None:
            raise ValueError(
                "y_cal is None: give X_cal and y_cal, samples that the estimator was not fitted to, or y_cal "
                "alone, the y of its fit, for its own out-of-fold predictions."
            )

    def _calibrated(self, X: Any, y: np.ndarray, predict: Callable[[Any], np.ndarray]) -> tuple[Any, Any]:
        """Predictions of samples that were not learned from, and the y of these."""
        if X is None:
            said = out_of_fold(self.estimator, y)
            told = ~np.isnan(said.reshape(len(said), -1)).any(axis=1)
            return said[told], y[told]
        said = predict(X)
        if len(said) != len(y):
            raise ValueError(f"X_cal has {len(said)} samples, and y_cal {len(y)}; they must be as many.")
        return said, y

    def _take(self, parts: Sequence[np.ndarray], n: int) -> Self:
        """Be calibrated by these scores, unless there are too few of them."""
        scores = [np.sort(part) for part in parts]
        self._limits(self.alpha, scores)
        self.scores_, self.n_calibration_ = scores, n
        return self

    def _limits(self, alpha: Any, scores: Sequence[np.ndarray]) -> np.ndarray:
        """The largest score that is still in a set, of each of the sorted ones."""
        return np.array([quantile(part, alpha) for part in scores])

    def predict(self, X: Any) -> np.ndarray:
        """What the estimator predicts, without sets.

        Parameters
        ----------
        X : object
            Samples, as the estimator takes them.

        Returns
        -------
        ndarray
        """
        check_is_fitted(self)
        return self.estimator.predict(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if hasattr(self.estimator, "__sklearn_tags__"):
            tags.input_tags = self.estimator.__sklearn_tags__().input_tags
        return tags


def out_of_fold(estimator: Any, y: np.ndarray) -> np.ndarray:
    """What a multimodal estimator said of the samples of its fit that it left out, NaN of others."""
    model, _ = unwrapped(estimator)
    if not isinstance(model, MultimodalEstimator):
        raise ValueError(
            f"X_cal is None, and {type(model).__name__} keeps no out-of-fold predictions; give X_cal and y_cal, "
            "samples that it was not fitted to."
        )
    if not hasattr(model, "oof_prediction_"):
        raise ValueError(
            f"this {type(model).__name__}(n_members={model.n_members}) has no oof_prediction_: a fit leaves it "
            "with n_members=2 or more and two samples of a class; partial_fit, and warm_start with other samples, "
            "do not. Fit it so, or give X_cal and y_cal."
        )
    said = np.asarray(model.oof_prediction_)
    if len(said) != len(y):
        raise ValueError(
            f"y_cal has {len(y)} samples, and the estimator was fitted to {len(said)}; without X_cal give the y of "
            "its fit."
        )
    _refuse_another(model, y)
    return said


def _refuse_another(model: MultimodalEstimator, y: np.ndarray) -> None:
    """Refuse a y that is not that of the fit, where what this was is still known."""
    found = getattr(model, "oof_heads_", None)
    if found is None:
        return
    own = model._target.tensor(model._target.encode(y))[found.rows]
    if own.shape != found.target.shape:  # learned from probabilities
        return
    other = ~np.isclose(own, found.target, rtol=1e-4, atol=1e-4).reshape(len(own), -1).all(axis=1)
    if other.any():
        row = int(found.rows[other].min())
        raise ValueError(
            f"y_cal, row {row}: {y[row].tolist()!r} is not what the estimator was fitted to there. Without X_cal "
            "give the y of its fit, in the same order, or give X_cal with it."
        )


class ConformalClassifier(ClassifierMixin, _Conformal):
    """Sets of classes that hold the true one with a probability of 1 - alpha.

    Parameters
    ----------
    estimator : fitted classifier
        With ``predict_proba``, of one class for each sample. It is not fitted again; that clones of this keep it
        fitted takes a :class:`~sklearn.frozen.FrozenEstimator` around it.
    alpha : float, default=0.1
        How often the true class may be missed, between 0 and 1.
    method : {"lac", "aps"}, default="lac"
        By what a class is judged. "lac": 1 less its probability, which gives the smallest sets on average; of
        samples that resemble no class a set may be empty. "aps": the probability of all classes before it, and a
        random share of its own, which gives larger sets, and comes nearer to 1 - alpha among easy and hard samples
        alike.
    by_class : bool, default=False
        Whether each class has a quantile of its own: then of the samples of each class no more than alpha are
        missed, of rare ones too, for which each needs ceil(1 / alpha) - 1 samples.
    random_state : int, RandomState instance or None, default=None
        Seed of the random shares of "aps". The same samples in the same order get the same sets.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Those of the estimator.
    scores_ : list of ndarray
        Sorted scores of the calibration samples, with ``by_class`` of each class.
    n_calibration_ : int
        How many samples there were.

    Notes
    -----
    Of samples that the estimator was not fitted to, where these and new ones are exchangeable (as independent draws
    from one distribution are), a set holds the true class with a probability of at least 1 - alpha, and of at most
    1 - alpha + 1 / (n + 1) where no two scores are equal, whatever the estimator. That is on average over
    calibrations: the coverage by one of n samples is a draw from Beta(k, n + 1 - k), k = ceil((n + 1)(1 - alpha)).
    It says nothing of a part of the samples, but of each class with ``by_class``; and nothing where new samples are
    of other people, places or times than those of the calibration.

    Without such samples the scores are those of ``oof_prediction_``, in which members, experts and stacks spoke of
    the samples that they did not see, while of new ones all speak. That is cross-validation without the "+" of
    Barber et al. (2021): CV+, where the models of all folds predict each new sample, covers at least 1 - 2 alpha,
    less a term that is below the root of 2 / n (their theorem 4); where one model of all samples predicts instead,
    nothing is guaranteed unless both say nearly the same. What is approximated: of n members the one or few that
    left a sample out stand for all of them together, experts fitted without its fold for those fitted to all, and a
    stack without its fold for the stack of all; and what earlier steps of a pipeline learned, such as a vocabulary,
    they learned of all samples. All together are as a rule better, and sets then rather too large.
    Rows that nobody left out (NaN, as the first ones where folds follow a time) do not count; all others count
    alike, whatever their sample weights.

    References
    ----------
    Vovk et al. 2005, Algorithmic learning in a random world; Sadinle et al. 2019, Least ambiguous set-valued
    classifiers with bounded error levels, for "lac" and ``by_class``; Romano et al. 2020, Classification with valid
    and adaptive coverage, for "aps"; Barber et al. 2021, Predictive inference with the jackknife+.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skmm.inspection import ConformalClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(3, size=2100)
    >>> X = y[:, None] + rng.normal(size=(2100, 2))
    >>> clf = LogisticRegression().fit(X[:100], y[:100])
    >>> conformal = ConformalClassifier(clf, alpha=0.2).fit(X[100:1100], y[100:1100])
    >>> sets = conformal.predict_set(X[1100:])
    >>> bool(abs(sets[np.arange(1000), y[1100:]].mean() - 0.8) < 0.05)
    True
    >>> conformal.labels_of(sets)[2].tolist()
    [0, 1]
    """

    def __init__(
        self,
        estimator: Any,
        *,
        alpha: float = 0.1,
        method: str = "lac",
        by_class: bool = False,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.method = method
        self.by_class = by_class
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Calibrate the sets; the estimator stays as it is.

        Parameters
        ----------
        X : object or None
            Samples that the estimator was not fitted to, as it takes them; None for its out-of-fold predictions.
        y : array-like of shape (n_samples,)
            Their classes; at None those that the estimator was fitted to.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If alpha is not between 0 and 1, there are too few samples for it, y holds a class that the estimator
            does not know, is of another length than X, or is multilabel; or if X is None and there are no
            out-of-fold predictions, or y is not that of the fit.
        NotFittedError
            If the estimator is not fitted.
        """
        self._check(y)
        if self.method not in ("lac", "aps"):
            raise unknown("method", self.method, ("lac", "aps"))
        if not hasattr(self.estimator, "predict_proba"):
            raise ValueError(
                f"{type(self.estimator).__name__} has no predict_proba; CalibratedClassifierCV gives it one."
            )
        labels = self._labels(y)
        proba, labels = self._calibrated(X, labels, self.estimator.predict_proba)
        proba = check_probabilities(proba)
        seed = draw_seed(self.random_state)
        order = np.argsort(self.estimator.classes_)
        index = order[np.searchsorted(self.estimator.classes_, labels, sorter=order)]
        own = self._scores(proba, seed)[np.arange(len(index)), index]
        parts = [own[index == c] for c in range(proba.shape[1])] if self.by_class else [own]
        self._take(parts, len(own))
        self.classes_, self._seed = np.asarray(self.estimator.classes_), seed + 1
        return self

    def _labels(self, y: Any) -> np.ndarray:
        """y as classes that the estimator knows."""
        labels = np.asarray(y)
        if labels.ndim > 1 and labels.shape[1] > 1:
            raise ValueError(
                f"y_cal has {labels.shape[1]} columns: there are no sets of several labels at once. Fit a "
                "classifier, and sets, for each column by itself."
            )
        labels = column_or_1d(labels, warn=True)
        foreign = ~np.isin(labels, self.estimator.classes_)
        if foreign.any():
            row = int(foreign.argmax())
            raise ValueError(
                f"y_cal, row {row}: {labels[row].tolist()!r} is not among the classes that the estimator was "
                f"fitted to, {np.asarray(self.estimator.classes_).tolist()}. Leave such samples out."
            )
        return labels

    def _scores(self, proba: np.ndarray, seed: int) -> np.ndarray:
        """How little each class agrees with the probabilities: (n, C) of (n, C)."""
        if self.method == "lac":
            return 1 - proba
        order = np.argsort(-proba, axis=1, kind="stable")
        each = np.take_along_axis(proba, order, axis=1)
        share = np.random.RandomState(seed).uniform(size=(len(proba), 1))
        scores = np.empty_like(proba)
        np.put_along_axis(scores, order, each.cumsum(axis=1) - (1 - share) * each, axis=1)
        return scores

    def _limits(self, alpha: Any, scores: Sequence[np.ndarray]) -> np.ndarray:
        if not self.by_class:
            return super()._limits(alpha, scores)
        names = np.asarray(self.estimator.classes_).tolist()
        each = zip(scores, names, strict=True)
        return np.array([quantile(part, alpha, f"the class {name!r}") for part, name in each])

    def predict_set(self, X: Any, alpha: float | None = None) -> np.ndarray:
        """Which classes are in the set of each sample.

        Parameters
        ----------
        X : object
            Samples, as the estimator takes them.
        alpha : float, optional
            How often the true class may be missed; None is that of the parameters. No new calibration is needed.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_classes)
            In the order of ``classes_``. A row may be empty, where all classes are too improbable; to always have
            the most probable one, which only adds to the coverage,
            ``sets[np.arange(len(sets)), proba.argmax(axis=1)] = True``.

        Raises
        ------
        ValueError
            If alpha is not between 0 and 1, or the calibration had too few samples for it.
        """
        check_is_fitted(self)
        limits = self._limits(self.alpha if alpha is None else alpha, self.scores_)
        return self._scores(check_probabilities(self.estimator.predict_proba(X)), self._seed) <= limits

    def labels_of(self, sets: np.ndarray) -> list[np.ndarray]:
        """The classes in each of the sets that :meth:`predict_set` gave.

        Parameters
        ----------
        sets : ndarray of bool, shape (n_samples, n_classes)
            Sets.

        Returns
        -------
        list of ndarray
            Classes of each sample.
        """
        check_is_fitted(self)
        return [self.classes_[row] for row in np.asarray(sets, dtype=bool)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, those of the estimator.

        Parameters
        ----------
        X : object
            Samples, as the estimator takes them.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator.predict_proba(X)


def _finite(said: Any) -> np.ndarray:
    """Values that are predicted; others than numbers have no interval."""
    said = np.asarray(said, dtype=np.float64)
    wrong = ~np.isfinite(said).reshape(len(said), -1).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {row}: the estimator predicts {said[row].tolist()}, of which there is no interval.")
    return said


class ConformalRegressor(RegressorMixin, _Conformal):
    """Intervals that hold the true value with a probability of 1 - alpha.

    Parameters
    ----------
    estimator : fitted regressor
        Of one value or several. It is not fitted again; that clones of this keep it fitted takes a
        :class:`~sklearn.frozen.FrozenEstimator` around it.
    alpha : float, default=0.1
        How often the true value may be missed, between 0 and 1.
    spread : {"members", "heads"}, callable or None, default=None
        What the residuals are divided by: None by nothing, so that all intervals are equally wide. "members" and
        "heads": how much these disagree of a sample (see :func:`uncertainty`), and a hundredth of the deviation of
        the training target, so that intervals are wider where less is known. A callable gives of X numbers above 0,
        (n_samples,) or (n_samples, n_outputs), in units of y. A spread needs samples that were not learned from.

    Attributes
    ----------
    scores_ : list of ndarray
        Sorted scores of the calibration samples, of each value that is predicted.
    n_calibration_ : int
        How many samples there were.

    Notes
    -----
    What is guaranteed, and what is approximated without samples that the estimator was not fitted to, is as in
    :class:`ConformalClassifier`. Of several values each interval holds its own with a probability of 1 - alpha, all
    of them together less often.

    References
    ----------
    Lei et al. 2018, Distribution-free predictive inference for regression, with spreads in section 5.2; Barber et
    al. 2021, Predictive inference with the jackknife+.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skmm.inspection import ConformalRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2100, 2))
    >>> y = X[:, 0] + rng.normal(size=2100)
    >>> reg = LinearRegression().fit(X[:100], y[:100])
    >>> conformal = ConformalRegressor(reg, alpha=0.2).fit(X[100:1100], y[100:1100])
    >>> low, high = conformal.predict_interval(X[1100:]).T
    >>> bool(abs(((low <= y[1100:]) & (y[1100:] <= high)).mean() - 0.8) < 0.05)
    True
    """

    def __init__(self, estimator: Any, *, alpha: float = 0.1, spread: Any = None) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.spread = spread

    def fit(self, X: Any, y: Any) -> Self:
        """Calibrate the intervals; the estimator stays as it is.

        Parameters
        ----------
        X : object or None
            Samples that the estimator was not fitted to, as it takes them; None for its out-of-fold predictions.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their values; at None those that the estimator was fitted to.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If alpha is not between 0 and 1, there are too few samples for it, or y is of another shape than the
            predictions, or not finite; or if X is None and there are no out-of-fold predictions, y is not that of
            the fit, or a ``spread`` is asked for.
        NotFittedError
            If the estimator is not fitted.
        """
        self._check(y)
        if not (self.spread is None or callable(self.spread) or self.spread in OF_VALUES):
            raise unknown("spread", self.spread, OF_VALUES)
        if X is None and self.spread is not None:
            raise ValueError(
                f"spread={self.spread!r} is smaller of samples that were learned from than of new ones: with it "
                "give X_cal and y_cal, samples that the estimator was not fitted to, or set spread=None."
            )
        values = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y_cal")
        said, values = self._calibrated(X, values, self.estimator.predict)
        said = _finite(said)
        if said.ndim != values.ndim and said.size == values.size:  # one value, as a column or not
            values = values.reshape(said.shape)
        if said.shape != values.shape:
            raise ValueError(f"y_cal has the shape {values.shape}, and what is predicted {said.shape}.")
        scores = np.abs(values - said) / self._scale(X, said)
        return self._take(scores.reshape(len(scores), -1).T, len(scores))

    def _scale(self, X: Any, said: np.ndarray) -> np.ndarray:
        """What residuals are divided by, in the shape of the predictions or one for all."""
        if self.spread is None:
            return np.ones(1)
        if callable(self.spread):
            scale = np.asarray(self.spread(X), dtype=np.float64)
        else:
            scale = uncertainty(self.estimator, X, kind=self.spread)
            scale = scale + _FLOOR * unwrapped(self.estimator)[0]._target.deviation
        if scale.shape not in (said.shape, said.shape[:1]):
            raise ValueError(f"spread gives the shape {scale.shape}, and what is predicted has {said.shape}.")
        wrong = ~(np.isfinite(scale) & (scale > 0)).reshape(len(scale), -1).all(axis=1)
        if wrong.any():
            raise ValueError(f"spread, row {wrong.argmax()}: {scale[wrong.argmax()]} is no number above 0.")
        return scale if scale.ndim == said.ndim else scale[:, None]

    def predict_interval(self, X: Any, alpha: float | None = None) -> np.ndarray:
        """The interval of each sample.

        Parameters
        ----------
        X : object
            Samples, as the estimator takes them.
        alpha : float, optional
            How often the true value may be missed; None is that of the parameters. No new calibration is needed.

        Returns
        -------
        ndarray of shape (n_samples, 2), or (n_samples, n_outputs, 2) for several values
            Lower and upper end, in units of y.

        Raises
        ------
        ValueError
            If alpha is not between 0 and 1, or the calibration had too few samples for it.
        """
        check_is_fitted(self)
        limits = self._limits(self.alpha if alpha is None else alpha, self.scores_)
        said = _finite(self.estimator.predict(X))
        half = self._scale(X, said) * limits
        return np.stack([said - half, said + half], axis=-1)
