"""The fitted multimodal estimator inside of what a user has."""

from __future__ import annotations

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skmm.compose import ModalityTransformer
from skmm.deployment._module import predicting

VALID = (
    "valid are a fitted MultimodalClassifier or MultimodalRegressor, a pipeline that ends in one, and a search, "
    "Pruned or Distilled that fitted one"
)


def inside(estimator: Any) -> Any:
    """What a search, a compressed or a frozen estimator predicts by, also last in a pipeline; another as it is."""
    if isinstance(estimator, Pipeline):
        *steps, (name, last) = estimator.steps
        found = inside(last)
        return estimator if found is last else Pipeline([*steps, (name, found)])
    if isinstance(estimator, FrozenEstimator):
        return inside(estimator.estimator)
    if hasattr(estimator, "best_estimator_"):
        return inside(estimator.best_estimator_)
    found = predicting(estimator)
    return estimator if found is estimator else inside(found)


def last_step(estimator: Any) -> Any:
    """What of a pipeline predicts."""
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return estimator


def predictor(estimator: Any) -> Any:
    """What is :func:`inside` of a fitted estimator.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    """
    check_is_fitted(estimator)
    found = inside(estimator)
    check_is_fitted(found)
    return found


def fitted_model(estimator: Any) -> Any:
    """The same, and of a pipeline the last step."""
    return last_step(predictor(estimator))


def table_reader(estimator: Any) -> ModalityTransformer | None:
    """What made modalities of a table's columns, if that is what reads it."""
    steps = [step for _, step in getattr(estimator, "steps", [])]
    first = steps[0] if steps else estimator
    found = first if isinstance(first, ModalityTransformer) else getattr(first, "modality_transformer_", None)
    return found if hasattr(found, "_positions") else None
