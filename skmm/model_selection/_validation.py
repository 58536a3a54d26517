"""scikit-learn's cross-validation, with the folds of a multimodal network trained together."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import sklearn.model_selection
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from skmm._private import insert_error_scores, warn_or_raise_about_fit_failures
from skmm._progress import progress, showing
from skmm.blocks._given import blocks_if_named, refuse_unnamed
from skmm.columns._tables import as_frame
from skmm.estimators._base import MultimodalEstimator
from skmm.model_selection._candidates import Candidate
from skmm.model_selection._folds import Data
from skmm.model_selection._runs import Run


def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: Mapping[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: Any = np.nan,
) -> dict[str, Any]:
    """Fit and score on every fold, as scikit-learn's function of this name does, the folds together.

    Takes the place of :func:`sklearn.model_selection.cross_validate` for a MultimodalClassifier or
    MultimodalRegressor, or a Pipeline that ends in one: the networks of all folds are stacked and trained in one
    loop, which keeps the processor busy where a small network alone does not. What cannot be stacked is fitted fold
    by fold. Of any other estimator it is scikit-learn's own.

    Parameters
    ----------
    estimator : estimator
    X : Blocks, dict of arrays, table, or whatever ``estimator`` takes
        Samples. scikit-learn's own function takes no dict.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    groups : array-like of shape (n_samples,), optional
        Group of each sample, which the splitter sees. The estimator's ``fit`` sees them as
        ``params={"groups": groups}``.
    scoring : str, callable, list, tuple or dict, optional
        One metric or several; the estimator's own score if None.
    cv : int, splitter or iterable of splits, optional
        The folds; 5 if None.
    n_jobs : int, optional
        Processes among which the folds are divided, as many as possible together in each.
    verbose : int, default=0
        1 shows how far the training is.
    params : dict, optional
        Parameters of the estimator's ``fit``, cut to the rows of each fold; or what metadata routing says.
    pre_dispatch : int or str, default="2*n_jobs"
        What joblib hands out ahead.
    return_train_score : bool, default=False
    return_estimator : bool, default=False
    return_indices : bool, default=False
    error_score : "raise" or float, default=nan
        The score of a fit that fails.

    Returns
    -------
    dict
        ``test_score``, or ``test_<metric>`` for each of several, ``fit_time`` and ``score_time`` as arrays of shape
        (n_folds,); where asked for also ``train_score`` and its kin, ``estimator``, a list, and ``indices``. The
        time of a fold is its share of what its stack took.

    Raises
    ------
    ValueError
        If all fits fail, a scorer is unknown, or the folds cannot be made.

    Notes
    -----
    Without dropout the scores are those of scikit-learn's function up to the rounding of float32; what is dropped
    is drawn otherwise in a stack.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import MultimodalClassifier
    >>> from skmm.model_selection import cross_validate
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(60, 3)), "image": rng.normal(size=(60, 4))}
    >>> y = np.where(X["text"][:, 0] > 0, "up", "down")
    >>> quick = MultimodalClassifier(max_epochs=5, n_members=2, random_state=0)
    >>> found = cross_validate(quick, X, y, cv=3, scoring=["accuracy", "neg_log_loss"])
    >>> sorted(found)
    ['fit_time', 'score_time', 'test_accuracy', 'test_neg_log_loss']
    >>> found["test_accuracy"].shape
    (3,)
    """
    X = blocks_if_named(as_frame(X))
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    how: dict[str, Any] = {"n_jobs": n_jobs, "verbose": verbose, "pre_dispatch": pre_dispatch}
    wanted: dict[str, Any] = {"return_train_score": return_train_score, "return_estimator": return_estimator}
    if not isinstance(last, MultimodalEstimator):
        given: dict[str, Any] = {"groups": groups, "scoring": scoring, "cv": cv, "params": params}
        given |= {"return_indices": return_indices, "error_score": error_score}
        return sklearn.model_selection.cross_validate(estimator, X, y, **how, **wanted, **given)
    if error_score != "raise" and not isinstance(error_score, Real):
        raise ValueError(f"error_score={error_score!r} is neither 'raise' nor a number.")
    if estimator is last:
        refuse_unnamed(X)
    X, y = indexable(X, y)
    cv = check_cv(cv, y, classifier=is_classifier(estimator))
    scorer = check_scoring(estimator, scoring=scoring, raise_exc=error_score == "raise")
    routed_params = _routed(estimator, cv, scorer, groups, dict(params or {}))
    splits = list(cv.split(X, y, **routed_params.splitter.split))
    fit_params, score_params = routed_params.estimator.fit, routed_params.scorer.score
    data = Data(X, y, splits, fit_params, score_params, scorer, error_score, **wanted)
    results = _results(estimator, data, **how)
    warn_or_raise_about_fit_failures(results, error_score)
    if callable(scoring):
        insert_error_scores(results, error_score)
    found: dict[str, Any] = {key: np.array([r[key] for r in results]) for key in ("fit_time", "score_time")}
    if return_estimator:
        found["estimator"] = [result["estimator"] for result in results]
    if return_indices:
        found["indices"] = dict(zip(("train", "test"), zip(*splits, strict=True), strict=True))
    test_scores, train_scores = (_by_metric(results, kind) for kind in ("test", "train"))
    for name, scores in test_scores.items():
        found[f"test_{name}"] = scores
        if return_train_score:
            found[f"train_{name}"] = train_scores[name]
    return found


def cross_val_score(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: Mapping[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    error_score: Any = np.nan,
) -> np.ndarray:
    """Score on every fold, as scikit-learn's function of this name does, the folds trained together.

    Parameters
    ----------
    estimator : estimator
        A MultimodalClassifier or MultimodalRegressor, or a Pipeline that ends in one; any other is fitted as
        scikit-learn does it.
    X, y, groups, cv, n_jobs, verbose, params, pre_dispatch, error_score : object
        As of :func:`cross_validate`.
    scoring : str or callable, optional
        One metric; the estimator's own score if None.

    Returns
    -------
    ndarray of shape (n_folds,)

    Raises
    ------
    ValueError
        As of :func:`cross_validate`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import MultimodalRegressor
    >>> from skmm.model_selection import cross_val_score
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(60, 3)), "image": rng.normal(size=(60, 4))}
    >>> quick = MultimodalRegressor(max_epochs=5, n_members=2, random_state=0)
    >>> cross_val_score(quick, X, X["text"][:, 0], cv=3).shape
    (3,)
    """
    given: dict[str, Any] = {"groups": groups, "cv": cv, "n_jobs": n_jobs, "verbose": verbose, "params": params}
    given |= {"pre_dispatch": pre_dispatch, "error_score": error_score}
    scorer = check_scoring(estimator, scoring=scoring)
    return cross_validate(estimator, X, y, scoring={"score": scorer}, **given)["test_score"]


def _routed(estimator: Any, cv: Any, scorer: Any, groups: Any, params: dict[str, Any]) -> Any:
    """What goes to the splitter, the estimator's fit and the scorer."""
    if not get_config()["enable_metadata_routing"]:
        scored = Bunch(score={})
        return Bunch(splitter=Bunch(split={"groups": groups}), estimator=Bunch(fit=params), scorer=scored)
    if groups is not None:
        raise ValueError("groups are among params where metadata routing is enabled: params={'groups': groups}.")
    router = MetadataRouter(owner="cross_validate")
    parts = {"splitter": (cv, "split"), "estimator": (estimator, "fit"), "scorer": (scorer, "score")}
    for name, (part, callee) in parts.items():
        router.add(**{name: part}, method_mapping=MethodMapping().add(caller="fit", callee=callee))
    return process_routing(router, "fit", **params)


def _results(
    estimator: Any, data: Data, *, n_jobs: int | None, verbose: int, pre_dispatch: int | str
) -> list[dict[str, Any]]:
    """What was found of each fold."""
    before = "its own" if isinstance(estimator, Pipeline) else None
    candidate = Candidate("the estimator", {}, clone(estimator), before)
    run = Run([candidate], data, n_jobs, verbose=verbose > 0, pre_dispatch=pre_dispatch)
    with showing(verbose > 0), progress("folds", len(data.splits), "fold") as bar:
        run.run(lambda found: bar.advance(len(found)))
    return run.all()


def _by_metric(results: list[dict[str, Any]], kind: str) -> dict[str, np.ndarray]:
    """Scores of the folds, by metric; of one without a name that of "score"."""
    each = [result.get(f"{kind}_scores", {}) for result in results]
    named = [scores if isinstance(scores, dict) else {"score": scores} for scores in each]
    return {name: np.array([scores[name] for scores in named]) for name in named[0]}
