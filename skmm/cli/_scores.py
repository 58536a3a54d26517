"""Scores of predictions, with intervals of the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from skmm.cli._errors import UsageError
from skmm.reporting._scores import LEAST, Scores, as_labels, drawn_scores, interval, of_confusion
from skmm.table import Table

_MOST_CLASSES = 12  # of a confusion table that is printed
_SHOWN = 8  # classes that an error lists
_LEVEL = 0.95


@dataclass(frozen=True)
class Evaluation:
    """Scores with their intervals and, of classes, how often each was taken for which."""

    summary: Table
    confusion: Table | None
    notes: list[str]

    def __str__(self) -> str:
        parts = [str(self.summary)]
        if self.confusion is not None and len(self.confusion) <= _MOST_CLASSES:
            parts.append(f"rows: truth, columns: prediction\n{self.confusion}")
        return "\n\n".join([*parts, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        found = {"metric": self.summary["metric"][0], "summary": list(self.summary), "notes": self.notes}
        return found if self.confusion is None else found | {"confusion": list(self.confusion)}


def of_classes(model: Any, X: Any, y: Any, groups: Any, draws: int, seed: int) -> Evaluation:
    """Accuracy, recall and F1 averaged over the classes, and log-loss."""
    known = np.asarray(model.classes_)
    true, known_text = as_labels(y, known)
    if not set(true) & set(known_text):
        raise UsageError(
            f"the target has the classes {sorted(set(true.tolist()))[:_SHOWN]}, the model knows "
            f"{known_text.tolist()[:_SHOWN]}: is this another column?"
        )
    proba, said = model.predict_proba(X), model.predict(X)
    if said.ndim != 1:
        raise UsageError(f"the model predicts {said.shape[1]} labels; evaluate reads one.")
    said = known_text[np.searchsorted(known, said)]
    strange = sorted(set(true.tolist()) - set(known_text.tolist()))
    labels = np.array([*known_text, *strange])
    place = {label: i for i, label in enumerate(labels)}
    truth, guess = (np.array([place[label] for label in these]) for these in (true, said))
    notes, loss = [], None
    if strange:
        notes = [
            f"The model does not know the classes {strange}, {np.isin(true, strange).sum()} rows: they count as "
            "wrong, and there is no log-loss."
        ]
    else:
        loss = -np.log(np.maximum(proba[np.arange(len(truth)), truth], LEAST))

    def scores(weights: np.ndarray) -> dict[str, float]:
        table = np.bincount(truth * len(labels) + guess, weights, len(labels) ** 2).reshape(len(labels), -1)
        found = of_confusion(table)
        return found if loss is None else found | {"log_loss": float(np.average(loss, weights=weights))}

    counts = confusion_matrix(truth, guess, labels=np.arange(len(labels)))
    rows = [
        {"": label, **dict(zip(labels.tolist(), row.tolist(), strict=True))}
        for label, row in zip(labels.tolist(), counts, strict=True)
    ]
    return Evaluation(_with_intervals(scores, len(truth), groups, draws, seed), Table(rows), notes)


def of_values(model: Any, X: Any, y: Any, groups: Any, draws: int, seed: int) -> Evaluation:
    """R2, root mean squared error and mean absolute error."""
    said, true = model.predict(X), np.asarray(y)
    if true.dtype.kind not in "iufb":
        raise UsageError(f"the model predicts numbers, and the target holds {true[0]!r}.")
    if said.ndim != 1:
        raise UsageError(f"the model predicts {said.shape[1]} targets; evaluate reads one.")
    true = true.astype(float)

    def scores(weights: np.ndarray) -> dict[str, float]:
        squared = np.average((true - said) ** 2, weights=weights)
        spread = np.average((true - np.average(true, weights=weights)) ** 2, weights=weights)
        return {
            "r2": float(1 - squared / spread) if spread > 0 else float("nan"),
            "root_mean_squared_error": float(np.sqrt(squared)),
            "mean_absolute_error": float(np.average(np.abs(true - said), weights=weights)),
        }

    return Evaluation(_with_intervals(scores, len(true), groups, draws, seed), None, [])


def _with_intervals(scores: Scores, n: int, groups: Any, draws: int, seed: int) -> Table:
    """Scores of all rows, and between which they lie in bootstrap samples of rows, or of whole groups."""
    (drawn,) = drawn_scores([scores], n, groups, draws, seed)
    rows = []
    for name, score in scores(np.ones(n)).items():
        low, high = interval([found[name] for found in drawn], _LEVEL)
        rows.append({"metric": name, "score": score, "low": low, "high": high})
    return Table(rows)
