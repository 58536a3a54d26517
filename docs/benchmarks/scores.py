"""Scores of a fitted model on the test rows, each as values of which it is the mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.base import is_classifier

from skmm import Blocks

BETTER = {"accuracy": 1, "auroc": 1, "r2": 1, "log_loss": -1, "ece": -1, "rmse": -1, "mse": -1}


def calibration_error(proba: np.ndarray, hit: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error over equal-width bins of the largest probability."""
    confidence = proba.max(axis=1)
    which = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(which, weights=hit - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(hit))


def auroc_rows(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of ``score`` for y in {0, 1} as one value a row, of which it is the mean.

    The mean's standard error by their spread is that of DeLong et al. (1988).
    """
    area, rows = 0.0, np.empty(len(y))
    ranks = rankdata(score)
    beaten = {}
    for c in (0, 1):
        own = y == c
        share = (ranks[own] - rankdata(score[own])) / (~own).sum()  # of the other class: lower than this row
        beaten[c] = share if c == 1 else 1 - share
    area = beaten[1].mean()
    for c in (0, 1):
        own = y == c
        rows[own] = area + len(y) / own.sum() * (beaten[c] - area)
    return rows


def regression_rows(y: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Mean squared error, its root and R2 (of several targets their mean) as values of which they are the mean.

    Root and R2 are no means: theirs are linearised around the score, so that their spread gives its standard error.
    """
    y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    squared = (np.asarray(predicted, dtype=np.float64).reshape(y.shape) - y) ** 2
    deviation = (y - y.mean(axis=0)) ** 2
    variance = deviation.mean(axis=0)
    unexplained = squared.mean(axis=0) / variance
    mse = squared.mean(axis=1)
    rmse = np.sqrt(mse.mean())
    r2 = 1 - unexplained - (squared - unexplained * deviation) / variance
    return {"mse": mse, "rmse": (mse / rmse + rmse) / 2 if rmse else mse, "r2": r2.mean(axis=1)}


def classification_rows(model: Any, y: np.ndarray, proba: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, log-loss and, of two classes, AUROC as values of which they are the mean."""
    own = proba[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    rows = {
        "accuracy": (model.classes_[proba.argmax(axis=1)] == y).astype(float),
        "log_loss": -np.log(np.clip(own, np.finfo(np.float64).eps, 1)),
    }
    if len(model.classes_) == 2:
        rows["auroc"] = auroc_rows((y == model.classes_[1]).astype(int), proba[:, 1])
    return rows


def evaluate(model: Any, X: Blocks, y: np.ndarray, metrics: Iterable[str]) -> dict[str, Any]:
    """Scores of a fitted model, and in ``rows`` what they are means of, per test row."""
    scores = {}
    if is_classifier(model):
        proba = np.asarray(model.predict_proba(X), dtype=np.float64)
        rows = classification_rows(model, y, proba)
        scores["ece"] = calibration_error(proba, rows["accuracy"])
    else:
        rows = regression_rows(y, model.predict(X))
    rows = {metric: rows[metric] for metric in metrics if metric in rows}
    scores.update((metric, float(values.mean())) for metric, values in rows.items())
    return {**scores, "rows": {metric: values.round(6).tolist() for metric, values in rows.items()}}
