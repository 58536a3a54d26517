"""What is fitted on every fold, and which of it may share a loop, preparation and experts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from torch import nn

from skmm.estimators._base import MultimodalEstimator
from skmm.spec import Spec

# Parameters that need not agree within one loop. All others need to, so does one that is not thought of here.
_OF_EACH = {
    *("optimizer", "lr", "weight_decay", "lr_schedule", "max_epochs", "clip_grad_norm", "n_iter_no_change", "tol"),
    *("dropout", "modality_loss", "modality_dropout", "augment", "class_weight", "stack", "verbose"),
    "random_state",
}
# Parameters that come into play after the samples are read, scaled and divided.
_AFTER_INPUT = (_OF_EACH - {"class_weight", "random_state"}) | {
    *("fusion", "hidden_dim", "activation", "batch_size", "callbacks")
}


@dataclass
class Candidate:
    """An estimator that is fitted on every fold.

    Parameters
    ----------
    name : int or str
        Its number in a search, or the name of a method.
    params : dict
        The setting of the parameters that a search tries.
    estimator : estimator
        It, unfitted, maybe a pipeline.
    before : object
        What tells its transformers from those of other candidates; None outside a pipeline.
    of_folds : sequence of estimator
        What takes the place of the estimator's last step on each fold, where that differs.
    with_params : bool
        Whether its fit takes the parameters that are given for all.
    """

    name: int | str
    params: dict[str, Any]
    estimator: Any
    before: Any = None
    of_folds: Sequence[Any] = ()
    with_params: bool = True

    @property
    def last(self) -> Any:
        """The estimator itself, or the last step of a pipeline."""
        return self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator

    def on(self, fold: int) -> Any:
        """What is fitted on a fold, behind the transformers."""
        return self.of_folds[fold] if self.of_folds else self.last

    def __str__(self) -> str:
        return repr(self.name) if isinstance(self.name, str) else f"candidate {self.name}"


def content_key(value: Any) -> Any:
    """Equal for equal values; what cannot be hashed by content equals itself alone."""
    try:
        return joblib.hash(value)
    except Exception:  # whatever an object's own pickling raises
        return id(value)


def _shape_key(value: Any) -> Any:
    """As ``content_key``, but blind to rates of dropout, and to all but the layers of a module."""
    if isinstance(value, Spec):
        return (value.name, content_key({k: v for k, v in value.get_params().items() if "dropout" not in k}))
    if isinstance(value, Mapping):
        return tuple((name, _shape_key(v)) for name, v in value.items())
    if isinstance(value, nn.Module):
        return (type(value), str(value))
    return content_key(value)


def _params_key(estimator: BaseEstimator, without: set[str]) -> Any:
    params = estimator.get_params(deep=False)
    return (type(estimator), *((name, _shape_key(params[name])) for name in sorted(params) if name not in without))


def input_key(estimator: MultimodalEstimator) -> Any:
    """Equal for estimators that read, scale and divide samples alike, and have the same experts."""
    return _params_key(estimator, _AFTER_INPUT), estimator._hides_modalities()


def groups_of(candidates: list[Candidate]) -> list[list[Candidate]]:
    """Candidates that may share a loop."""
    groups: dict[Any, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(_params_key(candidate.last, _OF_EACH), []).append(candidate)
    return list(groups.values())


def divide(candidates: list[Candidate], n_jobs: int) -> list[list[Candidate]]:
    """Candidates that may share a loop, in parts that keep all processes busy."""
    size = math.ceil(len(candidates) / n_jobs)
    parts = []
    for group in groups_of(candidates):
        n = math.ceil(len(group) / size)
        parts += [group[i * len(group) // n : (i + 1) * len(group) // n] for i in range(n)]
    return parts
