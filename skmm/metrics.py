"""Scores of probabilistic predictions that scikit-learn does not have."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_scalar, column_or_1d

# scikit-learn's own helper for weights: private by name, but what every metric of its kind calls
from sklearn.utils.validation import _check_sample_weight


def expected_calibration_error(
    y_true: Any, y_proba: Any, *, n_bins: int = 15, labels: Any = None, sample_weight: Any = None
) -> float:
    """Expected calibration error of the most probable class.

    Samples are put into bins of equal width by their confidence, the largest of their probabilities: bin m of M
    holds those in ((m - 1) / M, m / M]. The error is the mean over the samples of the gap between accuracy and
    mean confidence in their bin, equation 3 of Guo et al. 2017. It depends on the number of bins, and is biased
    upwards where they hold few samples.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True classes.
    y_proba : array-like of shape (n_samples, n_classes)
        Probabilities of the classes, as from ``predict_proba``.
    n_bins : int, default=15
        Number of bins between 0 and 1.
    labels : array-like of shape (n_classes,), default=None
        Classes of the columns of ``y_proba``, as in ``classes_``. None takes the sorted classes of ``y_true``.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, not negative.

    Returns
    -------
    float
        Between 0 and 1; 0 is perfect.

    Raises
    ------
    ValueError
        If a row of ``y_proba`` is no distribution, if its columns and the classes differ in number, if a class of
        ``y_true`` is not among ``labels``, or if lengths differ.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger 2017, On calibration of modern neural networks.

    Examples
    --------
    >>> from skmm.metrics import expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    >>> round(expected_calibration_error([0, 0, 0, 1], y_proba), 6)  # gaps: 1 - 0.9 and 0.6 - 0.5
    0.1
    """
    y_true = column_or_1d(y_true)
    y_proba = check_array(y_proba, dtype=[np.float64, np.float32], input_name="y_proba")
    check_consistent_length(y_true, y_proba)
    check_scalar(n_bins, "n_bins", Integral, min_val=1)
    weights = _check_sample_weight(
        sample_weight, y_proba, dtype=np.float64, ensure_non_negative=True, allow_all_zero_weights=False
    )
    classes = np.unique(y_true) if labels is None else column_or_1d(labels)
    if len(classes) != y_proba.shape[1]:
        where = "y_true" if labels is None else "labels"
        raise ValueError(
            f"y_proba has {y_proba.shape[1]} columns, but {where} holds {len(classes)} classes, {classes.tolist()}."
            + (" Give the classes of the columns as labels." if labels is None else "")
        )
    foreign = ~np.isin(y_true, classes)
    if foreign.any():
        raise ValueError(
            f"y_true holds {y_true[foreign].tolist()[0]!r}, which is not among the labels {classes.tolist()}."
        )
    total = y_proba.sum(axis=1, dtype=np.float64)
    rounding = np.sqrt(np.finfo(y_proba.dtype).eps)  # predict_proba of few digits sums to one within this
    wrong = (np.abs(total - 1) > rounding) | (y_proba < 0).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"row {row} of y_proba, {y_proba[row].tolist()}, is no distribution: it sums to {total[row]:.6g}, "
            "and probabilities are from 0 to 1 and sum to 1."
        )
    confidence = y_proba.max(axis=1).astype(np.float64)
    gap = (classes[y_proba.argmax(axis=1)] == y_true) - confidence
    edges = np.arange(1, n_bins) / n_bins
    which = np.searchsorted(edges, confidence)  # an edge belongs to the bin below it
    return float(np.abs(np.bincount(which, weights * gap)).sum() / weights.sum())
