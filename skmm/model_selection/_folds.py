"""The folds of a search, comparison or cross-validation: prepared once for all that is fitted on them."""

from __future__ import annotations

import contextlib
import copy
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from skmm._parallel import Shared, size_of
from skmm._private import check_method_params, safe_indexing, score
from skmm.compose._leaks import ignore_leaks


@dataclass
class Fold(Shared):
    """The training and test rows of a split, behind fitted transformers if there are any."""

    number: int
    X_train: Any
    y_train: Any
    X_test: Any
    y_test: Any
    fit_params: dict[str, Any]
    score_train: dict[str, Any]
    score_test: dict[str, Any]
    transformers: Pipeline | None = None
    last: str = ""  # the name of the step behind these
    seconds: float = 0.0
    error: str | None = None

    def whole(self, estimator: Any) -> Any:
        """A fitted estimator behind the transformers that came before it."""
        if self.transformers is None:
            return estimator
        pipeline = copy.copy(self.transformers)
        pipeline.steps = [*self.transformers.steps, (self.last, estimator)]
        return pipeline


class Folds(list[Fold]):
    """All folds as candidates with the same transformers see them, which tell how large they are."""

    # without weak references, so that Dask ships with a task what one task alone reads, and loses it with no worker
    __slots__ = ()

    def __sizeof__(self) -> int:
        return sum(map(size_of, self))


class _Recorder(BaseEstimator):
    """Stands at the end of a pipeline for an estimator, and keeps what it would be fitted with."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        if get_config()["enable_metadata_routing"]:  # under the names by which the estimator knows them
            params = process_routing(self, "fit", **params).estimator.fit
        self.X_, self.y_, self.params_ = X, y, params
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """Whatever the estimator asks for."""
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)


@dataclass
class Data(Shared):
    """What is to be fitted, and how it is scored."""

    X: Any
    y: Any
    splits: list[tuple[np.ndarray, np.ndarray]]
    fit_params: dict[str, Any]
    score_params: dict[str, Any]
    scorer: Any
    error_score: Any
    return_train_score: bool = False
    return_estimator: bool = False
    metric: str | None = None  # the one that halving ranks by, of several
    leaks_told: bool = False  # whether the columns of X that tell too much were looked for in all rows

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """In the block nothing is said that was said of all rows."""
        if not self.leaks_told:
            yield
            return
        with warnings.catch_warnings():
            ignore_leaks()
            yield

    def rows(self, fold: int, which: int) -> tuple[Any, Any]:
        """Samples and targets that train (0) or test (1) in a fold."""
        rows = self.splits[fold][which]
        return safe_indexing(self.X, rows), None if self.y is None else safe_indexing(self.y, rows)

    def scores(self, estimator: Any, fold: Fold) -> dict[str, Any]:
        """Scores of an estimator that was fitted on a fold, and what else is kept of it."""
        return self.scored_by(self.scorer, estimator, fold)

    def scored_by(self, scorer: Any, estimator: Any, fold: Fold) -> dict[str, Any]:
        """Scores of an estimator that was fitted on a fold, by a scorer."""
        X_test, X_train, scored = fold.X_test, fold.X_train, estimator
        parts = getattr(self.scorer, "_scorers", {"": self.scorer}).values()
        if fold.transformers is not None and not all(hasattr(s, "get_metadata_routing") for s in parts):
            # scikit-learn's own scorers only ask for predictions; a user's function may look into the pipeline
            scored = fold.whole(estimator)
            X_train, X_test = self.rows(fold.number, 0)[0], self.rows(fold.number, 1)[0]
        start = time.perf_counter()
        found = {"test_scores": score(scored, X_test, fold.y_test, scorer, fold.score_test, self.error_score)}
        found["score_time"] = time.perf_counter() - start
        if self.return_train_score:
            found["train_scores"] = score(scored, X_train, fold.y_train, scorer, fold.score_train, self.error_score)
        if self.return_estimator:
            found["estimator"] = fold.whole(estimator)
        return found


def make_fold(data: Data, number: int, pipeline: Pipeline | None, with_params: bool = True) -> Fold:
    """A split of the data, with the transformers of a pipeline fitted to its training rows."""

    def params(given: dict[str, Any], which: int) -> dict[str, Any]:
        return check_method_params(data.X, params=given, indices=data.splits[number][which])

    samples = (*data.rows(number, 0), *data.rows(number, 1))
    scoring = params(data.score_params, 0), params(data.score_params, 1)
    fold = Fold(number, *samples, params(data.fit_params, 0) if with_params else {}, *scoring)
    if pipeline is None:
        return fold
    start = time.perf_counter()
    fold.last = pipeline.steps[-1][0]
    recorder = _Recorder(pipeline.steps[-1][1])
    fitted = clone(pipeline)
    fitted.steps[-1] = (fold.last, recorder)
    try:
        with data.quiet():
            fitted.fit(fold.X_train, fold.y_train, **fold.fit_params)
        fold.X_train, fold.y_train, fold.fit_params = recorder.X_, recorder.y_, recorder.params_
        fold.transformers = fitted[:-1]
        if len(fitted) > 1:
            fold.X_test = fold.transformers.transform(fold.X_test)
    except Exception as error:
        if data.error_score == "raise":
            error.add_note(f"Raised by the steps before {fold.last!r} on fold {number}.")
            raise
        fold.error = traceback.format_exc()
    fold.seconds = time.perf_counter() - start
    return fold


def failure(data: Data, error: str, n_epochs: int = 0) -> dict[str, Any]:
    """A result without a score."""
    scorers = getattr(data.scorer, "_scorers", None)
    scores = data.error_score if scorers is None else dict.fromkeys(scorers, data.error_score)
    return {
        "test_scores": scores,
        **({"train_scores": scores} if data.return_train_score else {}),
        **({"estimator": None} if data.return_estimator else {}),
        "fit_time": 0.0,
        "score_time": 0.0,
        "fit_error": error,
        "n_epochs": n_epochs,
        "dropped": False,
    }
