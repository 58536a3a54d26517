"""The fitted multimodal estimator inside of what a user has."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def fitted_model(estimator: Any) -> Any:
    """The last step of a pipeline, the best estimator of a search, or the estimator itself, once it is fitted.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    """
    check_is_fitted(estimator)
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            check_is_fitted(estimator)
            return estimator
