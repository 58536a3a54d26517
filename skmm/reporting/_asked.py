"""An estimator that is asked about samples, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from skmm._optional import import_optional
from skmm._private import num_samples
from skmm.blocks import Blocks
from skmm.blocks._given import blocks_if_named
from skmm.inspection._inside import fitted_model
from skmm.inspection.removal import at_blocks
from skmm.metrics import check_transcripts
from skmm.reporting._document import names
from skmm.reporting._scores import Classes, Labels, Outcome, Transcripts, Values, as_labels

_SHOWN = 8  # classes that an error lists


@dataclass(frozen=True)
class Asked:
    """A fitted estimator, samples, and what it said of them.

    Attributes
    ----------
    estimator, X, y : object
        As they were given.
    model, samples : object
        What of the estimator is left behind all steps that make Blocks, and these; the same as given where no step
        does.
    outcome : Outcome
        What was said, against the truth.
    notes : list of str
        What a reader must know of the rows.
    """

    estimator: Any
    X: Any
    y: Any
    model: Any
    samples: Any
    outcome: Outcome
    notes: list[str]

    @property
    def blocks(self) -> Blocks | None:
        return self.samples if isinstance(self.samples, Blocks) else None

    def __len__(self) -> int:
        return len(self.outcome)


def ask(estimator: Any, X: Any, y: Any) -> Asked:
    """What a fitted estimator says of samples whose target is known."""
    if not hasattr(estimator, "predict"):
        raise TypeError(f"a report is of an estimator that predicts, got {type(estimator).__name__}.")
    check_is_fitted(estimator)
    if y is None:
        raise ValueError("y is None; whether an estimator is any good, only the target of each sample tells.")
    X = blocks_if_named(X)
    if num_samples(X) != num_samples(y):
        raise ValueError(f"X has {num_samples(X)} samples, y has {num_samples(y)}.")
    if num_samples(y) == 0:
        raise ValueError("X has no samples; a report needs some that the estimator was not fitted to.")
    try:
        model, samples = at_blocks(estimator, X)
    except ValueError:  # of an estimator that never sees any; what is wrong with X, its prediction says
        model, samples = estimator, X
    notes: list[str] = []
    left_out = getattr(fitted_model(estimator), "oof_prediction_", None)
    if left_out is not None and len(left_out) == num_samples(y):
        notes.append(
            f"The model was fitted to {len(left_out):,} rows, and as many are scored here. If they are the same, "
            "every score of this report is too good: only rows that it has not seen tell how good it is."
        )
    return Asked(estimator, X, y, model, samples, outcome_of(model, samples, y, notes), notes)


def outcome_of(model: Any, samples: Any, y: Any, notes: list[str] | None = None) -> Outcome:
    """What a model says of samples, against the truth; ``notes`` get what is out of the common."""
    notes = [] if notes is None else notes
    true = np.asarray(y)
    if true.dtype != object and true.dtype.kind == "f" and np.isnan(true).any():
        row = int(np.isnan(true).reshape(len(true), -1).any(axis=1).argmax())
        raise ValueError(f"y lacks the target of row {row} (NaN); leave such rows out.")
    if is_classifier(model):
        return (
            _labels(model, samples, y)
            if true.ndim == 2 and true.shape[1] > 1
            else _classes(model, samples, true, notes)
        )
    if is_regressor(model):
        return _values(model, samples, true)
    if hasattr(model, "emissions"):
        return _transcripts(model, samples, y)
    raise ValueError(
        f"{type(model).__name__} is neither a classifier nor a regressor nor a recogniser of speech: there is no "
        "report of it. compare_fusions(...).report(path) reports a comparison."
    )


def _classes(model: Any, samples: Any, y: np.ndarray, notes: list[str]) -> Classes:
    y = y.reshape(len(y))
    known = np.asarray(model.classes_)
    if y.dtype == object and any(value is None or value != value for value in y):
        row = next(i for i, value in enumerate(y) if value is None or value != value)
        raise ValueError(f"y lacks the class of row {row} ({y[row]!r}); leave such rows out.")
    true, known_text = as_labels(y, known)
    if not set(true) & set(known_text):
        raise ValueError(
            f"y has the classes {sorted(set(true.tolist()))[:_SHOWN]}, the estimator knows "
            f"{known_text.tolist()[:_SHOWN]}: is this another target?"
        )
    said = np.asarray(model.predict(samples))
    if said.ndim != 1:
        raise ValueError(f"the estimator predicts {said.shape[1]} labels, y has one dimension.")
    strange = sorted(set(true.tolist()) - set(known_text.tolist()))
    labels = [*known_text.tolist(), *strange]
    place = {label: i for i, label in enumerate(labels)}
    order = {value: i for i, value in enumerate(known.tolist())}
    proba = np.asarray(model.predict_proba(samples)) if hasattr(model, "predict_proba") else None
    if strange:
        proba = None
        notes.append(
            f"{np.isin(true, strange).sum()} rows are of classes that the model does not know, {names(strange)}: "
            "they "
            "count as wrong, and nothing is said of its probabilities."
        )
    absent = [label for label in known_text if label not in set(true)]
    if absent:
        notes.append(f"Of classes that the model knows there is no row here: {names(absent)}.")
    truth = np.array([place[label] for label in true])
    return Classes(truth, np.array([order[value] for value in said.tolist()]), proba, labels)


def _labels(model: Any, samples: Any, y: Any) -> Labels:
    truth, said = np.asarray(y).astype(int), np.asarray(model.predict(samples)).astype(int)
    if said.shape != truth.shape:
        raise ValueError(f"y has the shape {truth.shape}, what the estimator predicts has {said.shape}.")
    proba = model.predict_proba(samples) if hasattr(model, "predict_proba") else None
    if isinstance(proba, list):  # as forests of scikit-learn say it: both probabilities of each label
        proba = np.column_stack([each[:, -1] for each in proba])
    given = getattr(y, "columns", None)
    labels = given if given is not None else getattr(model, "classes_", range(truth.shape[1]))
    if len(labels) != truth.shape[1] or any(isinstance(label, np.ndarray) for label in labels):
        labels = range(truth.shape[1])
    return Labels(truth, said, proba, [str(label) for label in labels])


def _values(model: Any, samples: Any, y: np.ndarray) -> Values:
    if y.dtype.kind not in "iufb":
        raise ValueError(f"the estimator predicts numbers, and y holds {y.reshape(-1).tolist()[0]!r}.")
    truth, said = y.astype(float), np.asarray(model.predict(samples), dtype=float)
    truth, said = truth.reshape(len(truth), -1), said.reshape(len(said), -1)
    if truth.shape != said.shape:
        raise ValueError(f"y has {truth.shape[1]} targets, the estimator predicts {said.shape[1]}.")
    return Values(truth, said)


def _transcripts(model: Any, samples: Any, y: Any) -> Transcripts:
    jiwer = import_optional("jiwer", extra="speech")
    truth, said = check_transcripts(y), [str(text) for text in model.predict(samples)]
    counted = {"word_error_rate": jiwer.process_words, "character_error_rate": jiwer.process_characters}
    errors = {
        name: np.array(list(map(_errors, truth, said, [count] * len(truth)))) for name, count in counted.items()
    }
    return Transcripts(truth, said, errors)


def _errors(true: str, said: str, count: Any) -> tuple[int, int]:
    found = count(true, said)
    missed = found.substitutions + found.deletions
    return missed + found.insertions, missed + found.hits


def baseline_outcomes(baselines: Any, asked: Asked) -> dict[str, Outcome]:
    """What fitted baselines say of the same samples, by name."""
    if baselines is None:
        return {}
    if not hasattr(baselines, "items"):
        listed = baselines if isinstance(baselines, Sequence) and not isinstance(baselines, str) else [baselines]
        baselines = {type(getattr(b, "steps", [(0, b)])[-1][1]).__name__: b for b in listed}
        if len(baselines) < len(listed):
            raise ValueError("baselines of one type need names, {'linear': model, 'regularised': other}.")
    found = {}
    for name, baseline in baselines.items():
        if not hasattr(baseline, "predict"):
            raise ValueError(
                f"baseline {name!r} is {baseline!r}, which does not predict; give estimators that are fitted "
                "already, {'linear': model}, or the comparison= that compare_fusions returned."
            )
        check_is_fitted(baseline)
        found[name] = outcome_of(baseline, asked.X, asked.y)
        if type(found[name]) is not type(asked.outcome):
            raise ValueError(
                f"baseline {name!r} is a {type(baseline).__name__}, which has no scores in common with "
                f"{type(asked.estimator).__name__}: one predicts classes, the other numbers."
            )
    return found
