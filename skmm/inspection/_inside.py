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


def predictor(estimator: Any) -> Any:
    """What a search, a compressed or a frozen estimator predicts by, also last in a pipeline; any other as it is.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    """
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        *steps, (name, last) = estimator.steps
        return Pipeline([*steps, (name, predictor(last))])
    if isinstance(estimator, FrozenEstimator):
        return predictor(estimator.estimator)
    if hasattr(estimator, "best_estimator_"):
        return predictor(estimator.best_estimator_)
    inner = predicting(estimator)
    return estimator if inner is estimator else predictor(inner)


def fitted_model(estimator: Any) -> Any:
    """The same, and of a pipeline the last step."""
    model = predictor(estimator)
    while isinstance(model, Pipeline):
        model = model[-1]
    return model


def table_reader(estimator: Any) -> ModalityTransformer | None:
    """What made modalities of a table's columns, if that is what reads it."""
    steps = [step for _, step in getattr(estimator, "steps", [])]
    first = steps[0] if steps else estimator
    found = first if isinstance(first, ModalityTransformer) else getattr(first, "modality_transformer_", None)
    return found if hasattr(found, "_positions") else None
