"""What is predicted: classes, labels or values, and all that differs between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import expit, log_expit, logit
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import assert_all_finite
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, column_or_1d
from torch import Tensor

from skmm.inputs._scaling import power_of_two
from skmm.training._losses import (
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    huber_error,
    quantile_error,
    squared_error,
)

Loss = Callable[[Tensor, Tensor], Tensor]

FLOOR = -8.0  # log-probabilities below say "impossible", however far below
_LARGEST = 1e300  # target whose predictions, off by some deviations, are still numbers


def exact(encoded: Tensor) -> Tensor:
    """Encoded targets for a loss of outputs in double precision."""
    return encoded.double() if encoded.is_floating_point() else encoded


class Target(ABC):
    """The form of y, as the first fit found it: from y to what the loss reads, from outputs to predictions.

    Attributes
    ----------
    link : {"softmax", "sigmoid", "identity"}
        What turns outputs into predictions; fusions of decisions are told.
    competing : bool
        Whether the outputs of a sample are those of classes, of which one is right.
    bounded : bool
        Whether outputs say how sure a head is, which a temperature can change.
    loss : callable
        Outputs (..., C) and targets as :meth:`tensor` gives them -> one number per sample.
    names : list of str
        Of the outputs.
    prior : ndarray of shape (C,)
        Outputs for a sample without any modality, from :meth:`learn`.
    """

    link: ClassVar[str]
    competing: ClassVar[bool] = False
    bounded: ClassVar[bool] = True
    loss: Loss
    names: list[str]
    prior: np.ndarray

    @property
    def n_outputs(self) -> int:
        """C, the numbers that a head says of a sample."""
        return len(self.names)

    def attributes(self) -> dict[str, Any]:
        """Fitted attributes of an estimator that predicts it."""
        return {}

    # -- from y to the loss --------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, y: Any) -> np.ndarray:
        """y as numbers; of another form than the first fit's it is refused."""

    def weigh(self, encoded: np.ndarray, weights: np.ndarray, class_weight: Any, *, whole: bool) -> np.ndarray:
        """Sample weights, with those of the classes in them; ``whole`` if there is no more of y than this."""
        return weights

    @abstractmethod
    def learn(self, encoded: np.ndarray, weights: np.ndarray) -> None:
        """Learn from the samples that train what one without any modality is predicted as."""

    @abstractmethod
    def tensor(self, encoded: np.ndarray) -> np.ndarray:
        """Targets as the loss reads them."""

    def strata(self, encoded: np.ndarray) -> np.ndarray | None:
        """Classes by which held-out parts are stratified, if they are."""
        return None

    def labels(self, strata: np.ndarray) -> list[Any]:
        """Such classes as the user wrote them."""
        return strata.tolist()

    def softened(self, predictions: np.ndarray) -> tuple[Target, np.ndarray]:
        """What learns from predictions, as :meth:`finish` gives them, in place of y; and these encoded."""
        return self, np.asarray(predictions, dtype=np.float64).reshape(len(predictions), -1)

    def hardened(self) -> Target:
        """The target of y itself, after that has learned."""
        return self

    # -- from outputs to predictions -----------------------------------------------------------------------------

    @abstractmethod
    def finish(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities or values from outputs (n, C)."""

    @abstractmethod
    def choose(self, outputs: np.ndarray) -> np.ndarray:
        """What is predicted: labels, or values, from outputs (n, C)."""

    @abstractmethod
    def told(self, outputs: np.ndarray) -> np.ndarray:
        """What outputs (n, C) say of each: log-probabilities, or values, (n, C)."""

    @abstractmethod
    def features(self, outputs: np.ndarray) -> np.ndarray:
        """What a stack weighs, of outputs (..., C): log-probabilities or log-odds that are bounded, or values."""

    def slope(self, outputs: np.ndarray, encoded: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each sample, (n,), and how it rises with each of its outputs (n, C), at outputs (n, C)."""
        x = torch.from_numpy(outputs).requires_grad_()
        loss = self.loss(x, encoded)
        (rise,) = torch.autograd.grad(loss.sum(), x)
        return loss.detach().numpy(), rise.numpy()

    def curvature(self, outputs: np.ndarray) -> np.ndarray:
        """About how the loss curves with each of the outputs (n, C), to choose units by; of the same shape."""
        return np.ones_like(outputs)

    @abstractmethod
    def given(self, encoded: np.ndarray, *, standard: bool = False) -> np.ndarray:
        """Targets as a user would give them to an estimator of scikit-learn; values may be ``standard`` ones."""

    @abstractmethod
    def said_by(self, estimator: Any, X: Any, *, standard: bool = False) -> np.ndarray:
        """Outputs (n, C) of an estimator of scikit-learn that was fitted to such targets.

        What it says is checked, but of those that were fitted to ``standard`` values, the package's own.
        """

    @abstractmethod
    def average(self, outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Members' outputs (K, n, C), averaged as predictions, as outputs again: weights (K, n, 1) of sum 1."""

    @abstractmethod
    def score(self, outputs: np.ndarray, encoded: np.ndarray, weights: np.ndarray) -> float:
        """Score of outputs (n, C), as the estimator's ``score`` is; targets as :meth:`tensor` gives them."""


# -- classification -----------------------------------------------------------------------------------------------


_ROUNDING = 1e-3  # by which probabilities may be off


def _probabilities(found: Any) -> np.ndarray:
    """What an estimator says, if it can be probabilities."""
    found = np.asarray(found, dtype=np.float64)
    wrong = ~((found >= -_ROUNDING) & (found <= 1 + _ROUNDING))  # NaN, too
    if wrong.any():
        raise ValueError(f"its predict_proba says {found[wrong][0]}, which is no probability.")
    return found


_BINARIZE = "give the matrix of 0 and 1 that MultiLabelBinarizer().fit_transform(y) makes of it."


def _refuse_lists(y: Any) -> None:
    """Raise if each row of y is a list of labels, of unequal lengths, or a set."""
    rows = y.tolist() if str(getattr(y, "dtype", "")) == "object" else y
    if not isinstance(rows, (list, tuple)):
        return
    sizes = {len(row) if isinstance(row, (list, tuple, np.ndarray)) else -1 for row in rows}
    if any(isinstance(row, (set, frozenset)) for row in rows) or len(sizes) > 1:
        raise ValueError(f"y holds the labels of each sample as a list, {rows[0]!r} for the first: {_BINARIZE}")


def _read_labels(y: Any) -> np.ndarray:
    """Labels (n,), or the matrix of 0 and 1 of several per sample, (n, C)."""
    if not sp.issparse(y):
        _refuse_lists(y)
        assert_all_finite(y, input_name="y")
    try:
        check_classification_targets(y)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in np.ravel(np.asarray(y, dtype=object)).tolist()})
        raise ValueError(
            f"y holds labels of the types {kinds}, which have no order; make all of them strings, "
            "[str(label) for label in y]."
        ) from None
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        indicator = check_array(y, accept_sparse="csr", dtype=None, ensure_2d=True, input_name="y")
        return np.asarray(indicator.toarray() if hasattr(indicator, "toarray") else indicator)
    if kind == "multiclass-multioutput":
        raise ValueError(
            "y has several columns of classes; fit one classifier for each (MultiOutputClassifier). If each row "
            f"lists the labels of a sample, {_BINARIZE}"
        )
    return column_or_1d(y, warn=True)


def target_of_labels(y: Any, classes: np.ndarray | None = None) -> tuple[Target, np.ndarray]:
    """The target of a first fit, one class per sample or several labels, and y as numbers.

    ``classes`` (sorted) are given where there may be more than y holds.
    """
    labels = _read_labels(y)
    if labels.ndim == 2:
        return LabelsTarget(labels.shape[1], _names_of_columns(y)), labels.astype(np.float64)
    target = ClassTarget(np.unique(labels) if classes is None else classes)
    return target, target.numbers(labels)


def _names_of_columns(y: Any) -> list[str] | None:
    """Names of the columns of a DataFrame, if they are strings."""
    names = list(getattr(y, "columns", []))
    return names if names and all(isinstance(name, str) for name in names) else None


class ClassTarget(Target):
    """One of several classes.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The classes, sorted.
    """

    link = "softmax"
    competing = True

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes
        self.names = [str(label) for label in self.classes]
        self.loss: Loss = cross_entropy

    def attributes(self) -> dict[str, Any]:
        return {"classes_": self.classes}

    def encode(self, y: Any) -> np.ndarray:
        labels = _read_labels(y)
        if labels.ndim == 2:
            raise ValueError(f"y has {labels.shape[1]} outputs, unlike the {self.n_outputs} of the first fit.")
        return self.numbers(labels)

    def numbers(self, labels: np.ndarray, whose: str = "y holds") -> np.ndarray:
        """Places of labels among the classes."""
        foreign = np.setdiff1d(labels, self.classes)
        if len(foreign):
            raise ValueError(
                f"{whose} {foreign.tolist()[0]!r}, which is not among the classes {self.classes.tolist()}."
            )
        return np.searchsorted(self.classes, labels)

    def weigh(self, encoded: np.ndarray, weights: np.ndarray, class_weight: Any, *, whole: bool) -> np.ndarray:
        seen = np.unique(encoded[weights > 0])
        if len(self.classes) < 2 or (len(seen) < 2 and whole):
            raise ValueError(
                f"y holds one class, {self.classes[seen].tolist()}; a classifier needs at least 2 classes."
            )
        if class_weight is None:
            return weights
        each = compute_class_weight(
            class_weight, classes=self.classes[seen], y=self.classes[encoded], sample_weight=weights
        )
        wrong = ~(np.isfinite(each) & (each >= 0))
        if wrong.any():
            raise ValueError(
                f"class_weight gives {self.classes[seen][wrong].tolist()[0]!r} the weight {each[wrong][0]}."
            )
        factor = np.ones(len(self.classes))
        factor[seen] = each
        return weights * factor[encoded]

    def learn(self, encoded: np.ndarray, weights: np.ndarray) -> None:
        counts = np.bincount(encoded, weights, self.n_outputs)
        self.prior = np.log((counts / counts.sum()).clip(1e-6))

    def tensor(self, encoded: np.ndarray) -> np.ndarray:
        return encoded.astype(np.int64)

    def strata(self, encoded: np.ndarray) -> np.ndarray:
        return encoded

    def labels(self, strata: np.ndarray) -> list[Any]:
        return self.classes[strata].tolist()

    def softened(self, predictions: np.ndarray) -> tuple[Target, np.ndarray]:
        return SoftClassTarget(self.classes), np.asarray(predictions, dtype=np.float64)

    def finish(self, outputs: np.ndarray) -> np.ndarray:
        return torch.from_numpy(outputs).softmax(1).numpy()

    def choose(self, outputs: np.ndarray) -> np.ndarray:
        return self.classes[outputs.argmax(axis=1)]

    def told(self, outputs: np.ndarray) -> np.ndarray:
        return torch.from_numpy(outputs).log_softmax(1).numpy()

    def features(self, outputs: np.ndarray) -> np.ndarray:
        return torch.from_numpy(outputs).log_softmax(-1).clamp(min=FLOOR).numpy()

    def slope(self, outputs: np.ndarray, encoded: Tensor) -> tuple[np.ndarray, np.ndarray]:
        told = torch.from_numpy(outputs).t().log_softmax(0)  # over few classes faster than along rows
        each = encoded.view(1, -1)
        rise = told.exp().scatter_add_(0, each, told.new_full(each.shape, -1.0))
        return -told.gather(0, each)[0].numpy(), rise.t().numpy()

    def curvature(self, outputs: np.ndarray) -> np.ndarray:
        probabilities = self.finish(outputs)
        return probabilities * (1 - probabilities)

    def given(self, encoded: np.ndarray, *, standard: bool = False) -> np.ndarray:
        return self.classes[encoded]

    def said_by(self, estimator: Any, X: Any, *, standard: bool = False) -> np.ndarray:
        said, seen = estimator.predict_proba(X), estimator.classes_
        said = said if standard else _probabilities(said)
        found = np.zeros((X.shape[0], self.n_outputs))
        # of a class that it never saw it says that it cannot be
        all_seen = np.array_equal(seen, self.classes)
        found[:, slice(None) if all_seen else self.numbers(seen, "its classes_ hold")] = said
        return np.log(found.clip(np.exp(FLOOR)))

    def average(self, outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (torch.from_numpy(outputs).log_softmax(-1) + torch.from_numpy(weights).log()).logsumexp(0).numpy()

    def score(self, outputs: np.ndarray, encoded: np.ndarray, weights: np.ndarray) -> float:
        return float(accuracy_score(encoded, outputs.argmax(axis=1), sample_weight=weights))


class SoftClassTarget(ClassTarget):
    """One of several classes, of which probabilities are known: encoded (n, C)."""

    def hardened(self) -> Target:
        target = ClassTarget(self.classes)
        target.prior = self.prior
        return target

    def learn(self, encoded: np.ndarray, weights: np.ndarray) -> None:
        self.prior = np.log(np.average(encoded, axis=0, weights=weights).clip(1e-6))

    def tensor(self, encoded: np.ndarray) -> np.ndarray:
        return encoded.astype(np.float32)

    def strata(self, encoded: np.ndarray) -> np.ndarray:
        return encoded.argmax(axis=1)

    def given(self, encoded: np.ndarray, *, standard: bool = False) -> np.ndarray:
        return super().given(self.strata(encoded))

    def slope(self, outputs: np.ndarray, encoded: Tensor) -> tuple[np.ndarray, np.ndarray]:
        told = torch.from_numpy(outputs).log_softmax(1)
        loss = -(encoded * told).sum(1)
        return loss.numpy(), (encoded.sum(1, keepdim=True) * told.exp() - encoded).numpy()

    def score(self, outputs: np.ndarray, encoded: np.ndarray, weights: np.ndarray) -> float:
        return super().score(outputs, self.strata(encoded), weights)


class LabelsTarget(Target):
    """Several labels, each of which a sample has or not.

    Parameters
    ----------
    n_labels : int
        How many there are.
    names : list of str, optional
        Theirs; else they are numbered.
    """

    link = "sigmoid"

    def __init__(self, n_labels: int, names: list[str] | None = None) -> None:
        self.classes = np.arange(n_labels) if names is None else np.array(names)
        self.names = [str(label) for label in self.classes]
        self.loss: Loss = binary_cross_entropy

    def attributes(self) -> dict[str, Any]:
        return {"classes_": self.classes}

    def encode(self, y: Any) -> np.ndarray:
        indicator = _read_labels(y)
        names, numbered = _names_of_columns(y), np.issubdtype(self.classes.dtype, np.integer)
        if names is not None and not numbered and names != self.names:
            raise ValueError(f"y has the columns {names}, in the first fit they were {self.names}.")
        if indicator.ndim == 1:
            raise ValueError("y is one column of classes, unlike the multilabel matrix of the first fit.")
        if indicator.shape[1] != self.n_outputs:
            raise ValueError(f"y has {indicator.shape[1]} outputs, unlike the {self.n_outputs} of the first fit.")
        return indicator.astype(np.float64)

    def weigh(self, encoded: np.ndarray, weights: np.ndarray, class_weight: Any, *, whole: bool) -> np.ndarray:
        # of each label, multiplied, as scikit-learn's forests do
        return weights if class_weight is None else weights * compute_sample_weight(class_weight, encoded)

    def learn(self, encoded: np.ndarray, weights: np.ndarray) -> None:
        p = np.average(encoded, axis=0, weights=weights).clip(1e-6, 1 - 1e-6)
        self.prior = np.log(p / (1 - p))

    def tensor(self, encoded: np.ndarray) -> np.ndarray:
        return encoded.astype(np.float32)

    def finish(self, outputs: np.ndarray) -> np.ndarray:
        return expit(outputs)

    def choose(self, outputs: np.ndarray) -> np.ndarray:
        return (outputs > 0).astype(np.int64)

    def told(self, outputs: np.ndarray) -> np.ndarray:
        return log_expit(outputs)

    def features(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.clip(FLOOR, -FLOOR)

    def given(self, encoded: np.ndarray, *, standard: bool = False) -> np.ndarray:
        return (encoded > 0.5).astype(np.int64)  # probabilities too, where these are learned from

    def said_by(self, estimator: Any, X: Any, *, standard: bool = False) -> np.ndarray:
        found = estimator.predict_proba(X)
        if isinstance(found, list):  # two columns for each label, or one where it was always or never there
            columns = []
            for own, classes in zip(found, estimator.classes_, strict=True):
                there = np.flatnonzero(np.asarray(classes) == 1)
                columns.append(own[:, there[0]] if len(there) else np.zeros(len(own)))
            found = np.column_stack(columns)
        found = found if standard else _probabilities(found)
        return logit(np.clip(found, expit(FLOOR), expit(-FLOOR)))

    def slope(self, outputs: np.ndarray, encoded: Tensor) -> tuple[np.ndarray, np.ndarray]:
        loss = self.loss(torch.from_numpy(outputs), encoded).numpy()
        return loss, (self.finish(outputs) - encoded.numpy()) / outputs.shape[1]

    def curvature(self, outputs: np.ndarray) -> np.ndarray:
        probabilities = self.finish(outputs)
        return probabilities * (1 - probabilities) / outputs.shape[1]

    def average(self, outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        tiny = np.finfo(np.float64).eps
        return logit((expit(outputs) * weights).sum(axis=0).clip(tiny, 1 - tiny))

    def score(self, outputs: np.ndarray, encoded: np.ndarray, weights: np.ndarray) -> float:
        return float(accuracy_score(self.given(encoded), self.choose(outputs), sample_weight=weights))


# -- regression ---------------------------------------------------------------------------------------------------

# Name -> loss, of epsilon and alpha.
VALUE_LOSSES: dict[str, Callable[[float, float], Loss]] = {
    "squared_error": lambda epsilon, alpha: squared_error,
    "absolute_error": lambda epsilon, alpha: absolute_error,
    "huber": lambda epsilon, alpha: huber_error(epsilon),
    "quantile": lambda epsilon, alpha: quantile_error(alpha),
}


def _read_values(y: Any) -> np.ndarray:
    """Values (n,) or (n, n_outputs)."""
    try:
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    except ValueError as error:
        text = next((cell for cell in np.ravel(np.asarray(y, dtype=object)) if isinstance(cell, str)), None)
        if text is None:
            raise
        raise ValueError(
            f"y holds {text!r}: a regressor predicts numbers. Of classes MultimodalClassifier learns."
        ) from error
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.ndim > 2:
        raise ValueError(f"y must be of shape (n_samples,) or (n_samples, n_outputs), got {y.shape}.")
    largest = float(np.abs(y).max())
    if largest > _LARGEST:
        row = int(np.argmax(np.abs(y).reshape(len(y), -1).max(axis=1)))
        raise ValueError(
            f"y, row {row}: a value of size {largest:g} is too large to be predicted in float64, at most "
            f"{_LARGEST:g} is. Divide y by a number, or take its logarithm (TransformedTargetRegressor)."
        )
    return y


def target_of_values(y: Any, loss: Loss) -> tuple[Target, np.ndarray]:
    """The target of a first fit, and y as numbers (n, n_outputs)."""
    values = _read_values(y)
    target = ValueTarget(loss, None if values.ndim == 1 else values.shape[1])
    return target, values.reshape(len(values), -1)


class ValueTarget(Target):
    """One value or several, which the network learns in deviations from their mean.

    Parameters
    ----------
    loss : callable
        Loss of values and targets.
    n_outputs : int or None
        Values of a sample; None for one that is no column.
    """

    link = "identity"
    bounded = False

    def __init__(self, loss: Loss, n_outputs: int | None = None) -> None:
        self.loss, self.single = loss, n_outputs is None
        self.names = [str(i) for i in range(n_outputs or 1)]

    def encode(self, y: Any) -> np.ndarray:
        values = _read_values(y)
        n_outputs = 1 if values.ndim == 1 else values.shape[1]
        if n_outputs != self.n_outputs:
            raise ValueError(f"y has {n_outputs} outputs, unlike the {self.n_outputs} of the first fit.")
        return values.reshape(len(values), -1)

    def learn(self, encoded: np.ndarray, weights: np.ndarray) -> None:
        unit = power_of_two(encoded)
        mean = np.average(encoded / unit, axis=0, weights=weights)
        deviation = np.sqrt(np.average((encoded / unit - mean) ** 2, axis=0, weights=weights)) * unit
        self.mean, self.deviation = mean * unit, np.where(deviation > 0, deviation, 1.0)
        self.prior = np.zeros(self.n_outputs)

    def tensor(self, encoded: np.ndarray) -> np.ndarray:
        return ((encoded - self.mean) / self.deviation).astype(np.float32)

    def finish(self, outputs: np.ndarray) -> np.ndarray:
        values = outputs * self.deviation + self.mean
        return values[:, 0] if self.single else values

    def choose(self, outputs: np.ndarray) -> np.ndarray:
        return self.finish(outputs)

    def told(self, outputs: np.ndarray) -> np.ndarray:
        return self.finish(outputs).reshape(len(outputs), -1)

    def features(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def given(self, encoded: np.ndarray, *, standard: bool = False) -> np.ndarray:
        values = (encoded - self.mean) / self.deviation if standard else encoded
        return values[:, 0] if self.n_outputs == 1 else values

    def said_by(self, estimator: Any, X: Any, *, standard: bool = False) -> np.ndarray:
        found = np.asarray(estimator.predict(X), dtype=np.float64).reshape(X.shape[0], -1)
        if standard:
            return found
        if not np.isfinite(found).all():
            raise ValueError(f"it predicts {found[~np.isfinite(found)][0]} of some sample.")
        return (found - self.mean) / self.deviation

    def average(self, outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (outputs * weights).sum(axis=0)

    def score(self, outputs: np.ndarray, encoded: np.ndarray, weights: np.ndarray) -> float:
        return float(r2_score(encoded, outputs, sample_weight=weights))
