"""Scores of what was said of samples, with intervals of the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST = 1e-15  # probability of what is true that a log-loss counts at least

# scores of samples in which each row counts as often as it was drawn
Scores = Callable[[np.ndarray], dict[str, float]]


def as_labels(y: Any, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truth and known classes as text, numbers alike whether they are written as 1 or as 1.0."""
    values = np.asarray(y)
    if known.dtype.kind in "iufb" and values.dtype.kind in "iufb":
        common = np.result_type(known.dtype, values.dtype)
        whole = common.kind == "f" and all((part == np.round(part)).all() for part in (known, values))
        known, values = (part.astype(np.int64 if whole else common) for part in (known, values))
    return values.astype(str), known.astype(str)


def of_confusion(table: np.ndarray) -> dict[str, float]:
    """Accuracy, and recall and F1 averaged over the classes that occur or are predicted, as scikit-learn's."""
    hits, true, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    there = true + said > 0
    recall = np.divide(hits, true, out=np.zeros(len(hits)), where=true > 0)
    return {
        "accuracy": float(hits.sum() / table.sum()),
        "recall_macro": float(recall[there].mean()),
        "f1_macro": float((2 * hits[there] / (true + said)[there]).mean()),
    }


def drawn_scores(
    scores: Sequence[Scores], n: int, groups: Any, draws: int, seed: Any
) -> list[list[dict[str, float]]]:
    """What several scores are in each bootstrap sample of rows, or of whole groups: the same samples for all."""
    rng = np.random.default_rng(seed)
    unit = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    n_units = int(unit.max()) + 1
    found: list[list[dict[str, float]]] = [[] for _ in scores]
    for _ in range(draws):
        weights = rng.multinomial(n_units, np.full(n_units, 1 / n_units))[unit]
        for own, score in zip(found, scores, strict=True):
            own.append(score(weights))
    return found


def interval(values: Any, level: float) -> tuple[float, float]:
    """Between which values lie, but for the tails; NaN where there are none."""
    tail = (1 - level) / 2
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def mean_over(values: np.ndarray, weights: np.ndarray) -> float:
    """Mean of the rows of what was drawn."""
    return float(np.average(values, weights=weights))


def area(positive: np.ndarray, place: np.ndarray, weights: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive row is above a negative one, ties counting one half.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
        Rows that should be above.
    place : ndarray of int, shape (n,)
        Their places when they are sorted, the same of what is tied.
    weights : ndarray of shape (n,)
        How often each row counts.
    """
    n_places = int(place.max()) + 1
    above = np.bincount(place, weights * positive, n_places)
    below = np.bincount(place, weights * ~positive, n_places)
    pairs = above.sum() * below.sum()
    if pairs == 0:
        return float("nan")
    return float((above * (below.cumsum() - below / 2)).sum() / pairs)


def places(values: np.ndarray) -> np.ndarray:
    """Place of each value among the sorted distinct ones."""
    return np.unique(values, return_inverse=True)[1]


def of_probabilities(
    loss: np.ndarray, squared: np.ndarray, ranked: list[tuple[np.ndarray, np.ndarray]], weights: np.ndarray
) -> dict[str, float]:
    """Scores of probabilities: means of losses (n,), and of the areas of what was ranked, hot and in places."""
    areas = [area(positive, place, weights) for positive, place in ranked]
    known = [value for value in areas if not np.isnan(value)]
    return {
        "log_loss": mean_over(loss, weights),
        "auroc": float(np.mean(known)) if known else float("nan"),
        "brier": mean_over(squared, weights),
    }


@dataclass(frozen=True)
class Measure:
    """A score, and what a reader has to know of it."""

    shown: str
    meaning: str
    better: str = "higher"


MEASURES = {
    "accuracy": Measure("accuracy", "share of rows that are right"),
    "balanced_accuracy": Measure("balanced accuracy", "share of each class that is right (its recall), averaged"),
    "f1_macro": Measure("F1, macro", "misses and false alarms together, averaged over the classes"),
    "log_loss": Measure("log-loss", "surprise at the truth: to be sure and wrong costs most", "lower"),
    "auroc": Measure("AUROC", "how often a row of a class gets more probability for it than another row"),
    "brier": Measure("Brier score", "squared error of the probabilities", "lower"),
    "exact": Measure("all labels right", "share of rows"),
    "label_accuracy": Measure("accuracy of labels", "share of labels that are right"),
    "r2": Measure("R2", "share of the target's variance that is explained: 1 is perfect, 0 is the mean"),
    "mae": Measure("mean absolute error", "in the target's units", "lower"),
    "rmse": Measure("root mean squared error", "in the target's units; large errors count more", "lower"),
    "word_error_rate": Measure("word error rate", "wrong, missing and added words for each true one", "lower"),
    "character_error_rate": Measure("character error rate", "the same of characters", "lower"),
}


class Classes:
    """What was said of one class each, against the truth.

    Parameters
    ----------
    truth, said : ndarray of int, shape (n_samples,)
        Places in ``labels``.
    proba : ndarray of shape (n_samples, n_known) or None
        Probabilities of the first labels: those that the model knows.
    labels : list of str
        Names of the classes.
    """

    primary = "accuracy"

    def __init__(self, truth: np.ndarray, said: np.ndarray, proba: np.ndarray | None, labels: list[str]) -> None:
        self.truth, self.said, self.proba, self.labels = truth, said, proba, labels
        self.right = truth == said
        n_labels = len(labels)
        self._cell = truth * n_labels + said
        if proba is None:
            return
        hot = truth[:, None] == np.arange(proba.shape[1])
        binary = proba.shape[1] == 2
        self._loss = -np.log(np.maximum(proba[np.arange(len(truth)), truth], LEAST))
        self._squared = ((proba - hot) ** 2).sum(axis=1) / (2 if binary else 1)  # scikit-learn's convention
        columns = [1] if binary else range(proba.shape[1])
        self._ranked = [(hot[:, c], places(proba[:, c])) for c in columns if 0 < hot[:, c].sum() < len(truth)]

    def __len__(self) -> int:
        return len(self.truth)

    def counts(self, weights: Any = None) -> np.ndarray:
        """How often each class was taken for which, (n_labels, n_labels)."""
        n_labels = len(self.labels)
        return np.bincount(self._cell, weights, n_labels**2).reshape(n_labels, n_labels)

    def scores(self, weights: np.ndarray) -> dict[str, float]:
        table = self.counts(weights)
        true = table.sum(axis=1)
        found = {
            "accuracy": float(np.diag(table).sum() / table.sum()),
            "balanced_accuracy": float((np.diag(table)[true > 0] / true[true > 0]).mean()),
            "f1_macro": of_confusion(table)["f1_macro"],
        }
        if self.proba is None:
            return found
        return found | of_probabilities(self._loss, self._squared, self._ranked, weights)

    def guessing(self) -> Classes:
        """The same rows by who knows only how frequent the classes are."""
        shares = np.bincount(self.truth, minlength=len(self.labels)) / len(self)
        said = np.full(len(self), shares.argmax())
        proba = None if self.proba is None else np.tile(shares[: self.proba.shape[1]], (len(self), 1))
        return Classes(self.truth, said, proba, self.labels)


class Labels:
    """What was said of several labels, each there or not.

    Parameters
    ----------
    truth, said : ndarray of 0 and 1, shape (n_samples, n_labels)
        Which labels are there.
    proba : ndarray of shape (n_samples, n_labels) or None
        Their probabilities.
    labels : list of str
        Their names.
    """

    primary = "label_accuracy"

    def __init__(self, truth: np.ndarray, said: np.ndarray, proba: np.ndarray | None, labels: list[str]) -> None:
        self.truth, self.said, self.proba, self.labels = truth, said, proba, labels
        self.right = (truth == said).mean(axis=1)
        self._exact = (truth == said).all(axis=1).astype(float)
        if proba is None:
            return
        there = np.where(truth == 1, proba, 1 - proba)
        self._loss = -np.log(np.maximum(there, LEAST)).mean(axis=1)
        self._squared = ((proba - truth) ** 2).mean(axis=1)
        each = [(truth[:, c] == 1, proba[:, c]) for c in range(truth.shape[1])]
        self._ranked = [(hot, places(column)) for hot, column in each if 0 < hot.sum() < len(truth)]

    def __len__(self) -> int:
        return len(self.truth)

    def scores(self, weights: np.ndarray) -> dict[str, float]:
        hits = weights @ (self.truth * self.said)
        total = weights @ self.truth + weights @ self.said
        f1 = np.divide(2 * hits, total, out=np.zeros(len(hits)), where=total > 0)
        found = {
            "label_accuracy": mean_over(self.right, weights),
            "exact": mean_over(self._exact, weights),
            "f1_macro": float(f1.mean()),
        }
        if self.proba is None:
            return found
        return found | of_probabilities(self._loss, self._squared, self._ranked, weights)

    def guessing(self) -> Labels:
        """The same rows by who knows only how frequent each label is."""
        shares = np.tile(self.truth.mean(axis=0), (len(self), 1))
        proba = None if self.proba is None else shares
        return Labels(self.truth, (shares > 0.5).astype(int), proba, self.labels)


class Values:
    """What was said of one or more numbers.

    Parameters
    ----------
    truth, said : ndarray of shape (n_samples, n_targets)
        Numbers.
    """

    primary = "r2"

    def __init__(self, truth: np.ndarray, said: np.ndarray) -> None:
        self.truth, self.said = truth, said
        self.right = np.abs(truth - said).mean(axis=1)  # the error: of numbers none is right

    def __len__(self) -> int:
        return len(self.truth)

    def scores(self, weights: np.ndarray) -> dict[str, float]:
        squared = np.average((self.truth - self.said) ** 2, axis=0, weights=weights)
        mean = np.average(self.truth, axis=0, weights=weights)
        spread = np.average((self.truth - mean) ** 2, axis=0, weights=weights)
        explained = np.divide(squared, spread, out=np.full(len(spread), np.nan), where=spread > 0)
        return {
            "r2": float(1 - explained.mean()),
            "mae": mean_over(self.right, weights),
            "rmse": float(np.sqrt(squared.mean())),
        }

    def guessing(self) -> Values:
        """The same rows by who knows only their mean."""
        return Values(self.truth, np.broadcast_to(self.truth.mean(axis=0), self.truth.shape))


class Transcripts:
    """What was heard, against what was said.

    Parameters
    ----------
    truth, said : list of str
        Transcripts.
    errors : dict of str to ndarray of shape (n_samples, 2)
        By the name of the rate, errors of each row and what they are counted against.
    """

    primary = "word_error_rate"

    def __init__(self, truth: list[str], said: list[str], errors: Mapping[str, np.ndarray]) -> None:
        self.truth, self.said, self.errors = truth, said, errors
        counted = errors[self.primary]
        self.right = counted[:, 0] / np.maximum(counted[:, 1], 1)

    def __len__(self) -> int:
        return len(self.truth)

    def scores(self, weights: np.ndarray) -> dict[str, float]:
        found = {}
        for name, counted in self.errors.items():
            wrong, total = weights @ counted
            found[name] = float(wrong / total) if total else float("nan")
        return found

    def guessing(self) -> Transcripts:
        """The same rows by who hears nothing."""
        silent = {name: np.column_stack([c[:, 1], c[:, 1]]) for name, c in self.errors.items()}
        return Transcripts(self.truth, [""] * len(self), silent)


Outcome = Classes | Labels | Values | Transcripts
