"""Estimators that insist on 2-D input, with Blocks as X."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmm.blocks import Blocks
from skmm.blocks._blocks import FlatLayout
from skmm.blocks._given import is_named


def _has(method: str) -> Callable[[Any], bool]:
    """Whether the estimator inside has a method; raises what it says itself where it has none."""

    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class FlatEstimator(MetaEstimatorMixin, BaseEstimator):
    """Give Blocks to a tool that insists on 2-D input, in their flat form.

    ``BaggingClassifier``, ``OneVsOneClassifier``, ``ClassifierChain``, ``AdaBoostClassifier``, a
    ``StackingClassifier`` with ``passthrough=True``, or a pipeline that begins with a sampler cut X into columns or
    ask for an array without NaN. They get the modalities side by side, :meth:`Blocks.to_flat` with
    ``gaps="counted"``, and every multimodal estimator inside of them is told which columns are which modality:
    it reads the same samples as from Blocks, sequences of unequal length and missing modalities included.

    Parameters
    ----------
    estimator : estimator
        The tool, with multimodal estimators anywhere inside of it, or without. Those whose ``modalities`` is None
        get the layout. Columns that the tool adds after the others are to them one more modality, ``"added"``.

    Attributes
    ----------
    estimator_ : estimator
        The fitted tool.
    layout_ : FlatLayout
        Which columns are which modality.
    n_features_in_ : int
        Columns of the flat form.
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.

    Raises
    ------
    ValueError
        If X is no Blocks, dict of arrays, or in a method other than ``fit`` their flat form; if a modality has
        another shape than in ``fit``.

    Notes
    -----
    The flat form is as wide as the longest sequence in ``fit``; of longer ones later the steps beyond are cut, with
    a warning. It is dense unless a block is sparse: what needs memory is better given to a tool that takes Blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import BaggingClassifier
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.compose import FlatEstimator
    >>> y = np.arange(40) % 2
    >>> X = Blocks(table=y[:, None] + np.eye(40, 3), walk=[np.full(2 + i % 3, label) for i, label in enumerate(y)])
    >>> quick = MultimodalClassifier(n_members=1, max_epochs=2, experts=None, random_state=0)
    >>> bagging = FlatEstimator(BaggingClassifier(quick, n_estimators=2)).fit(X, y)
    >>> bagging.predict(X[:3]).shape
    (3,)
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None, **params: Any) -> FlatEstimator:
        """Fit the tool to the flat form.

        Parameters
        ----------
        X : Blocks or dict of arrays
            Samples.
        y : array-like of shape (n_samples, ...), optional
            Targets.
        **params
            Handed to the tool's ``fit``, ``sample_weight`` say.

        Returns
        -------
        self : FlatEstimator
        """
        if not is_named(X):
            raise ValueError(
                f"FlatEstimator reads Blocks or a dict, got {type(X).__name__}. Before it goes a transformer, "
                "make_pipeline(ModalityTransformer(...), FlatEstimator(...))."
            )
        flat, layout = Blocks(X).to_flat(gaps="counted")
        estimator = _told(clone(self.estimator), layout)
        estimator.fit(flat, y, **params)
        self.estimator_, self.layout_ = estimator, layout
        self.n_features_in_ = layout.n_features
        return self

    def _flat(self, X: Any) -> Any:
        check_is_fitted(self)
        if is_named(X):
            return Blocks(X).to_flat(self.layout_)[0]
        return X  # the flat form itself, whose width the tool checks

    @property
    def classes_(self) -> Any:
        """Class labels, of a classifier."""
        return self.estimator_.classes_

    @available_if(_has("predict"))
    def predict(self, X: Any) -> Any:
        """What the tool predicts.

        Parameters
        ----------
        X : Blocks, dict of arrays, or their flat form of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, ...)
        """
        return self.estimator_.predict(self._flat(X))

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: Any) -> Any:
        """Probabilities, (n_samples, n_classes); X as in :meth:`predict`."""
        return self.estimator_.predict_proba(self._flat(X))

    @available_if(_has("predict_log_proba"))
    def predict_log_proba(self, X: Any) -> Any:
        """Log-probabilities, (n_samples, n_classes); X as in :meth:`predict`."""
        return self.estimator_.predict_log_proba(self._flat(X))

    @available_if(_has("decision_function"))
    def decision_function(self, X: Any) -> Any:
        """What the tool decides by; X as in :meth:`predict`."""
        return self.estimator_.decision_function(self._flat(X))

    @available_if(_has("transform"))
    def transform(self, X: Any) -> Any:
        """What the tool makes of samples; X as in :meth:`predict`."""
        return self.estimator_.transform(self._flat(X))

    @available_if(_has("score"))
    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """The tool's own score; X as in :meth:`predict`."""
        return float(self.estimator_.score(self._flat(X), y, **params))

    def __sklearn_tags__(self) -> Any:
        tags = get_tags(self.estimator)
        tags.input_tags = dataclasses.replace(
            tags.input_tags, two_d_array=True, dict=True, sparse=True, allow_nan=True
        )
        return tags


def _told(estimator: Any, layout: FlatLayout) -> Any:
    """An estimator, whose multimodal ones that know of no modalities are told the layout."""
    params = estimator.get_params(deep=True)
    own = [key.removesuffix("modalities") for key in params if key.rpartition("__")[2] == "modalities"]
    blank = [at for at in own if f"{at}fusion" in params and params[f"{at}modalities"] is None]
    rest = "added"
    while rest in layout.parts:
        rest += "_"
    return estimator.set_params(
        **{f"{at}modalities": dataclasses.replace(layout, rest=rest) for at in np.unique(blank).tolist()}
    )
