"""What estimators share that fit another one and predict by a smaller one made of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from skmm._documentation import Documented

Given = tuple[Any, Any, Any, Any, Any]  # what fit takes: X, y, sample_weight, groups, time


def _predictor_has(method: str) -> Callable[[Any], bool]:
    """Whether what will predict has a method, for ``available_if``."""

    def check(estimator: Any) -> bool:
        getattr(estimator._will_predict_by(), method)  # its AttributeError says why not
        return True

    return check


class Compressed(CallbackSupportMixin, MetaEstimatorMixin, Documented, BaseEstimator):
    """An estimator that fits another, and predicts by a smaller one that it makes of it.

    Whatever reads fitted estimators, such as :func:`~skmm.to_onnx`, takes the smaller one.
    """

    estimator: Any

    @property
    @abstractmethod
    def _predicts_by(self) -> Any:
        """The smaller estimator, fitted; NotFittedError before."""

    @abstractmethod
    def _will_predict_by(self) -> Any:
        """That, or before the fit what it will be like."""

    @abstractmethod
    def _compress(self, fitted: Any, opened: Any, *given: Any) -> Self:
        """As a fit, from a fitted estimator, what its fit had open, and what that was given: X, y, sample_weight,
        groups, time."""

    def predict(self, X: Any) -> np.ndarray:
        """What the smaller estimator predicts.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._predicts_by.predict(X)

    @available_if(_predictor_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes by the smaller estimator.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._predicts_by.predict_proba(X)

    @available_if(_predictor_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Logits of the smaller estimator.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
        """
        return self._predicts_by.decision_function(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy, or of values R², of the smaller estimator.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            What is true of them.
        sample_weight : array-like of shape (n_samples,), optional
            Their weights.

        Returns
        -------
        float
        """
        return self._predicts_by.score(X, y, sample_weight)

    @property
    def classes_(self) -> np.ndarray:
        """Class labels; an attribute of classifiers alone."""
        return self._predicts_by.classes_

    @property
    def n_features_in_(self) -> int:
        """Columns of a 2-D X; of a Blocks all numbers of a sample."""
        return self._predicts_by.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Column names, where X was a DataFrame."""
        return self._predicts_by.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        own = get_tags(self._will_predict_by())
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags", "input_tags"):
            setattr(tags, name, getattr(own, name))
        return tags
