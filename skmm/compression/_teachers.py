"""Teachers: what a fit of any estimator of scikit-learn is given, and what it says then."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skmm._private import BaseSearchCV, check_method_params, safe_indexing
from skmm._progress import progress
from skmm.estimators._targets import ClassTarget, LabelsTarget, Target

_ROUNDING = 0.01  # of a sum of probabilities


def last_step(estimator: Any) -> Any:
    """The last step of a Pipeline; any other estimator itself."""
    return last_step(estimator.steps[-1][1]) if isinstance(estimator, Pipeline) else estimator


def is_frozen(estimator: Any) -> bool:
    return isinstance(last_step(estimator), FrozenEstimator)


def fit_params(estimator: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What a fit of the teacher is given beside X and y, under the names that it has there."""
    routing = get_config()["enable_metadata_routing"]  # by which a Pipeline or search finds its step itself
    params = {}
    for name, value in given.items():
        if value is None:
            continue
        if _takes(estimator, name):
            params[name if routing else _name_in(estimator, name)] = value
        elif name == "sample_weight":
            raise ValueError(f"sample_weight: the teacher {estimator!r} does not take weights of samples.")
    return params


def _takes(estimator: Any, name: str) -> bool:
    """Whether a fit takes a parameter."""
    if isinstance(estimator, Pipeline):
        return _takes(estimator.steps[-1][1], name)
    if isinstance(estimator, BaseSearchCV):
        return name == "groups" or _takes(estimator.estimator, name)
    params = inspect.signature(estimator.fit).parameters
    # what hands on anything is asked to hand on weights, which all may take, but nothing that few know
    return name in params or (name == "sample_weight" and any(p.kind is p.VAR_KEYWORD for p in params.values()))


def _name_in(estimator: Any, name: str) -> str:
    """The name of a parameter of the last step's fit, in that of a Pipeline or search."""
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        return f"{step}__{_name_in(last, name)}"
    if isinstance(estimator, BaseSearchCV) and name != "groups":
        return _name_in(estimator.estimator, name)
    return name


def check_probabilities(teacher: Any) -> None:
    if not hasattr(teacher, "predict_proba"):
        raise ValueError(
            f"the teacher {teacher!r} has no predict_proba, from which the student learns. Take a classifier that "
            "has, or calibrate it: CalibratedClassifierCV(estimator)."
        )


def target_of(student: Any, teacher: Any, y: Any) -> tuple[Target, np.ndarray]:
    """What the student predicts, and y as numbers; of a teacher that knows more classes than y holds all these."""
    target, encoded = student._first_target(y, None)
    if not isinstance(target, ClassTarget):
        return target, encoded
    if isinstance(teacher.classes_, list):
        raise ValueError("the teacher predicts several outputs of a sample, y holds one.")
    known = np.unique(teacher.classes_)
    foreign = np.setdiff1d(target.classes, known)
    if len(foreign):
        raise ValueError(
            f"y holds {foreign.tolist()[0]!r}, which is not among the teacher's classes {known.tolist()}."
        )
    return student._first_target(y, known)


def predicted(teacher: Any, target: Target, X: Any) -> np.ndarray:
    """Probabilities or values (n, C) that a fitted teacher predicts, in the order of the target's classes.

    Raises
    ------
    ValueError
        If there are not as many of them as y says, some are no numbers, or probabilities do not sum to 1.
    """
    classifies = isinstance(target, (ClassTarget, LabelsTarget))
    said = teacher.predict_proba(X) if classifies else teacher.predict(X)
    if isinstance(said, list):  # of several labels two columns each, one where a label is always or never there
        said = np.column_stack(
            [
                own[:, np.asarray(classes) == 1].sum(axis=1)
                for own, classes in zip(said, teacher.classes_, strict=True)
            ]
        )
    found = _in_order(said, teacher, target)
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise ValueError(f"the teacher predicts {found[row].tolist()} of row {row}; a student learns from numbers.")
    off = np.abs(found.sum(axis=1) - 1) > _ROUNDING
    if isinstance(target, ClassTarget) and off.any():
        row = int(off.argmax())
        raise ValueError(
            f"the teacher's probabilities {found[row].tolist()} of row {row} do not sum to 1; y holds one class of "
            "each sample, not several labels."
        )
    return found


def _in_order(said: Any, teacher: Any, target: Target) -> np.ndarray:
    """Predictions as (n, C), 0 of a class that a teacher never saw."""
    said = np.asarray(said, dtype=np.float64)
    said = said.reshape(len(said), -1)
    if isinstance(target, ClassTarget):
        found = np.zeros((len(said), target.n_outputs))
        found[:, np.searchsorted(target.classes, teacher.classes_)] = said
        return found
    if said.shape[1] != target.n_outputs:
        raise ValueError(f"the teacher predicts {said.shape[1]} outputs of a sample, y has {target.n_outputs}.")
    return said


def own_left_out(teacher: Any, target: Target, n: int) -> np.ndarray | None:
    """What a fitted teacher itself said of samples that it left out, NaN of others; None if it told nothing."""
    while True:
        if isinstance(teacher, Pipeline):
            teacher = teacher.steps[-1][1]
        elif isinstance(teacher, BaseSearchCV):
            teacher = teacher.best_estimator_
        else:
            break
    said = getattr(teacher, "oof_prediction_", None)
    return None if said is None or len(said) != n else _in_order(said, teacher, target)


def predicted_left_out(
    teacher: Any, target: Target, X: Any, y: Any, n: int, splits: list[Any], params: dict[str, Any]
) -> np.ndarray:
    """What teachers that are fitted without a fold say of it, on average; NaN of samples in none."""
    total, times = np.zeros((n, target.n_outputs)), np.zeros((n, 1))
    with progress("folds of the teacher", len(splits), "fit") as bar:
        for train, held in splits:
            own = check_method_params(X, params, indices=train)
            fitted = clone(teacher).fit(safe_indexing(X, train), safe_indexing(y, train), **own)
            total[held] += predicted(fitted, target, safe_indexing(X, held))
            times[held] += 1
            bar.advance()
    return np.divide(total, times, out=np.full_like(total, np.nan), where=times > 0)
