"""Scores that scikit-learn does not have: of probabilistic predictions, of transcripts and of sentiment."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error
from sklearn.utils import check_array, check_consistent_length, check_scalar, column_or_1d

from skmm._optional import import_optional
from skmm._private import check_sample_weight


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
    weights = check_sample_weight(
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


def check_transcripts(y: Any, name: str = "y") -> list[str]:
    """Transcripts as a list of str, or an error that names the row that is none."""
    transcripts = column_or_1d(y, dtype=object).tolist() if not isinstance(y, list) else y
    for row, transcript in enumerate(transcripts):
        if not isinstance(transcript, str):
            raise ValueError(
                f"{name} must hold transcripts, row {row} is {transcript!r} of type {type(transcript).__name__}; a "
                "sample in which nothing is said has the empty transcript ''."
            )
    return transcripts


def _pairs(y_true: Any, y_pred: Any) -> tuple[list[str], list[str]]:
    truth, found = check_transcripts(y_true, "y_true"), check_transcripts(y_pred, "y_pred")
    check_consistent_length(truth, found)
    return truth, found


def word_error_rate(y_true: Any, y_pred: Any) -> float:
    """Word error rate of transcripts.

    Substituted, deleted and inserted words of the best alignment, in all samples together, over the number of true
    words. Words are what spaces separate: for scripts without spaces see :func:`character_error_rate`. Counted by
    jiwer.

    Parameters
    ----------
    y_true : array-like of str, shape (n_samples,)
        True transcripts; an empty one has no words, and every word said of it is an insertion.
    y_pred : array-like of str, shape (n_samples,)
        Predicted transcripts.

    Returns
    -------
    float
        0 is perfect; with many insertions it is above 1.

    Raises
    ------
    ValueError
        If a value is no str, or if lengths differ.
    ImportError
        If jiwer is not installed.

    Examples
    --------
    >>> from sklearn.metrics import make_scorer
    >>> from skmm.metrics import word_error_rate
    >>> word_error_rate(["one two three", "four"], ["one too three", "four"])
    0.25
    >>> scorer = make_scorer(word_error_rate, greater_is_better=False)
    """
    return float(import_optional("jiwer", extra="speech").wer(*_pairs(y_true, y_pred)))


def character_error_rate(y_true: Any, y_pred: Any) -> float:
    """Character error rate of transcripts.

    As :func:`word_error_rate`, of characters, spaces among them.

    Parameters
    ----------
    y_true : array-like of str, shape (n_samples,)
        True transcripts.
    y_pred : array-like of str, shape (n_samples,)
        Predicted transcripts.

    Returns
    -------
    float
        0 is perfect; with many insertions it is above 1.

    Raises
    ------
    ValueError
        If a value is no str, or if lengths differ.
    ImportError
        If jiwer is not installed.

    Examples
    --------
    >>> from skmm.metrics import character_error_rate
    >>> character_error_rate(["你好吗", "好"], ["你好", "好"])
    0.25
    """
    return float(import_optional("jiwer", extra="speech").cer(*_pairs(y_true, y_pred)))


def sentiment_metrics(y_true: Any, y_pred: Any, *, scale: int = 3) -> dict[str, float]:
    """The field's scores of a continuous sentiment, with the definitions of MMSA and MulT.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True sentiment.
    y_pred : array-like of shape (n_samples,)
        Predicted sentiment.
    scale : {3, 1}, default=3
        The largest sentiment: 3 for MOSI and MOSEI, whose annotators chose from -3 to 3, and 1 for CH-SIMS.

    Returns
    -------
    dict of str to float
        For ``scale=3``:

        mae, pearson
            Mean absolute error and Pearson's correlation of the values as they are.
        acc_7, acc_5
            Accuracy after clipping to [-3, 3] or [-2, 2] and rounding to the nearest integer (halves to the even
            one, as NumPy rounds).
        acc_2, f1
            Accuracy and F1 of not negative (>= 0) against negative, "with zeros".
        acc_2_nonzero, f1_nonzero
            The same of positive (> 0) against the rest over the samples whose true sentiment is not 0, "without
            zeros".

        For ``scale=1``, all with predictions clipped to [-1, 1]: ``mae``, ``pearson``; ``acc_5``, ``acc_3`` and
        ``acc_2`` over the intervals that end at -0.7, -0.1, 0.1 and 0.7, at -0.1 and 0.1, and at 0, each end
        belonging to the interval below it; ``f1`` of the two classes.

        Every F1 is the mean over the two classes, weighted by their true frequency. NaN is a correlation with
        constants, and a score over no sample.

    Raises
    ------
    ValueError
        If ``scale`` is neither 3 nor 1, if a true sentiment lies outside [-scale, scale], if a value is not finite,
        or if lengths differ.

    Notes
    -----
    MulT's own ``acc_2`` and ``f1`` "with zeros" set positive against the rest instead, which counts a 0 as
    negative: compare with papers accordingly.

    References
    ----------
    Mao et al. 2022, M-SENA, ACL demonstrations: ``MetricsTop`` of their code, MMSA, for all of these. Tsai et al.
    2019, Multimodal transformer for unaligned multimodal language sequences, ACL: ``eval_mosei_senti`` of their
    code, MulT, for ``scale=3``. Yu et al. 2020, CH-SIMS, ACL, for the scale of 1.

    Examples
    --------
    >>> from skmm.metrics import sentiment_metrics
    >>> scores = sentiment_metrics([-2.0, 0.0, 0.4, 3.0], [-1.6, 0.2, -0.2, 2.4])
    >>> {name: round(value, 3) for name, value in scores.items()}
    {'mae': 0.45, 'pearson': 0.983, 'acc_7': 0.75, 'acc_5': 1.0,
     'acc_2': 0.75, 'f1': 0.767, 'acc_2_nonzero': 0.667, 'f1_nonzero': 0.667}
    """
    if scale not in (3, 1):
        raise ValueError(f"scale={scale!r}; valid are 3 (MOSI, MOSEI) and 1 (CH-SIMS).")
    true = check_array(column_or_1d(y_true), dtype=np.float64, ensure_2d=False, input_name="y_true")
    said = check_array(column_or_1d(y_pred), dtype=np.float64, ensure_2d=False, input_name="y_pred")
    check_consistent_length(true, said)
    outside = np.abs(true) > scale + 1e-6  # of scores that were kept as float32
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"y_true holds {true[row]:g} in row {row}, which is outside [-{scale}, {scale}]; scale=3 is for MOSI "
            "and MOSEI, scale=1 for CH-SIMS."
        )
    if scale == 1:
        said = said.clip(-1, 1)
    deviation = true.std() * said.std()
    covariance = np.mean((true - true.mean()) * (said - said.mean()))
    found = {
        "mae": float(mean_absolute_error(true, said)),
        "pearson": float(covariance / deviation) if deviation > 0 else float("nan"),
    }
    if scale == 1:
        for n_classes, ends in ((5, [-0.7, -0.1, 0.1, 0.7]), (3, [-0.1, 0.1])):
            classes = [np.digitize(values, ends, right=True) for values in (true, said)]
            found[f"acc_{n_classes}"] = float(accuracy_score(*classes))
        return {**found, **_two_classes(true > 0, said > 0)}
    for largest in (3, 2):
        rounded = [values.clip(-largest, largest).round().astype(int) for values in (true, said)]
        found[f"acc_{2 * largest + 1}"] = float(accuracy_score(*rounded))
    told = true != 0
    return {
        **found,
        **_two_classes(true >= 0, said >= 0),
        **_two_classes(true[told] > 0, said[told] > 0, "_nonzero"),
    }


def _two_classes(true: np.ndarray, said: np.ndarray, suffix: str = "") -> dict[str, float]:
    """Accuracy and weighted F1, NaN over no sample."""
    scores = (
        (accuracy_score(true, said), f1_score(true, said, average="weighted")) if len(true) else (np.nan, np.nan)
    )
    return {f"acc_2{suffix}": float(scores[0]), f"f1{suffix}": float(scores[1])}
