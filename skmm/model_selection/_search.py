"""FusionSearchCV: a search whose candidates and folds are trained together."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.callback import with_callbacks
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar, indexable

from skmm._documentation import Documented
from skmm._fitting import all_or_nothing, forget_fit
from skmm._private import BaseSearchCV, check_method_params, insert_error_scores, warn_or_raise_about_fit_failures
from skmm._progress import progress, showing
from skmm._ranks import current
from skmm._warnings import once, warn
from skmm.blocks._given import blocks_if_named, refuse_unnamed
from skmm.columns._tables import as_frame
from skmm.estimators._base import MultimodalEstimator
from skmm.model_selection._candidates import Candidate, content_key
from skmm.model_selection._folds import Data
from skmm.model_selection._journal import Journal
from skmm.model_selection._runs import Run
from skmm.model_selection._search_tasks import Halving
from skmm.table import Table
from skmm.training._tasks import FitTasks, refuse_propagated


class FusionSearchCV(Documented, BaseSearchCV):
    """Search over parameters that trains candidates and folds together.

    Takes the place of :class:`~sklearn.model_selection.GridSearchCV` for a MultimodalClassifier or
    MultimodalRegressor, or a Pipeline that ends in one. Networks of the same shape, of all candidates and folds,
    are stacked and trained in one loop, which keeps the processor busy where a small network alone does not. They
    may differ in ``lr``, ``weight_decay``, ``dropout``, ``optimizer``, ``lr_schedule``, ``max_epochs``,
    ``clip_grad_norm``, ``modality_loss``, ``modality_dropout``, ``class_weight``, ``random_state`` and the
    parameters of ``augment``; another fusion, encoder, width, batch size or kind of augmentation is a loop of its
    own. What cannot be stacked is fitted one after another, and ``stacks_`` says why; so are, without ``halving``,
    networks of pictures so large that a CPU is faster so. Transformers are fitted once for each fold and setting of
    theirs.

    Without dropout (``mfb``, ``mfh`` and ``bottleneck`` have one of their own), and with the same ``random_state``
    of the estimator, the scores are those of GridSearchCV up to the rounding of float32: initial weights, batches
    and held-out parts are the same. The signed square root of ``block``, ``mcb``, ``mfb`` and ``mfh`` amplifies
    that rounding, so that after some hundred steps their log-loss may differ by 0.01. ``random_state=None`` draws
    one seed for each fold, which its candidates share. ``verbose`` of a stacked estimator shows nothing. Of
    scikit-learn's callbacks those of the search are told of each fit when its score is known; with callbacks of its
    own, an estimator is fitted alone.

    Parameters
    ----------
    estimator : estimator
        A MultimodalClassifier or MultimodalRegressor, or a Pipeline that ends in one.
    param_grid : dict or list of dicts
        Parameters and the values to try; with ``n_iter`` also distributions to draw them from.
    n_iter : int or None, default=None
        Number of candidates to draw, as RandomizedSearchCV does. None tries the whole grid.
    scoring : str, callable, list, tuple, dict or None, default=None
        One metric or several; the estimator's own score if None.
    n_jobs : int or None, default=None
        Processes among which the stacks are divided. On a GPU there is one, but on Dask or Ray, whose workers may
        have one each.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all samples; of several metrics the name of the one that decides.
    cv : int, splitter, iterable of splits or None, default=None
        The folds, as GridSearchCV takes them.
    halving : bool, default=False
        Successive halving: after ``min_epochs`` only the best ``1 / factor`` of a stack's candidates train on, and
        again after ``factor`` times as many epochs. Training goes on where it was, on the learning rate's full
        schedule. The score of a dropped candidate is the one that it had then. What is not stacked trains in full.
    factor : int, default=3
        One candidate in so many is kept.
    min_epochs : int or "auto", default="auto"
        Epochs before the first are dropped; ``"auto"`` is ``max_epochs / factor**2``.
    verbose : int, default=0
        1 prints the number of fits, and shows how many are done, and what is being trained.
    pre_dispatch : int or str, default="all"
        Stacks that are handed to the processes ahead, as joblib takes it.
    error_score : "raise" or number, default=nan
        Score of a fit that fails. A network whose loss becomes NaN is one, and those beside it go on.
    return_train_score : bool, default=False
        Whether to score the training samples as well.
    random_state : int, RandomState instance or None, default=None
        Seed of what ``n_iter`` draws; the estimator has its own.
    journal : path or None, default=None
        File to which the scores of finished fits are written, a line for each, or for those of a stack, whose fits
        end together. A search that was killed, and is called again on the same samples and folds, with the same
        grid, estimator and ``n_jobs``, does not repeat what is there, and finds the same scores; any other is
        refused. The file stays. What is refitted is not in it: the estimator's ``checkpoint`` keeps that.

    Attributes
    ----------
    cv_results_ : dict of ndarrays
        As GridSearchCV's, with ``n_epochs``, the mean over the folds, and under ``halving`` whether a candidate was
        ``dropped``. The ``fit_time`` of stacked fits is their share of the stack's.
    stacks_ : Table
        What trained together and what alone: how many fits, of which candidates and folds, for how many epochs and
        seconds; why, if alone.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_
        As GridSearchCV's; under ``halving`` the best of those that were not dropped.

    Raises
    ------
    ValueError
        If the grid is empty, or names a parameter that the estimator does not have.

    Notes
    -----
    A stack takes at most half of the memory that is free, divided by the number of processes, and is otherwise
    split, as is one that runs out of memory all the same; under ``halving`` each part then drops its own. Processes
    divide the stacks among them, and the candidates of a large one, the latter not under ``halving``. joblib's
    threads draw their random numbers one after the other, so they gain nothing over one process.

    Ctrl-C ends the search with a KeyboardInterrupt and keeps what is finished: in ``cv_results_`` all other fits
    have a score of NaN, and there is no ``best_estimator_``. A fit that was interrupted is never scored.

    References
    ----------
    Jamieson, K. and Talwalkar, A. (2016). Non-stochastic best arm identification and hyperparameter optimization.
    AISTATS, for ``halving``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.model_selection import FusionSearchCV
    >>> rng = np.random.default_rng(0)
    >>> X = Blocks(text=rng.normal(size=(60, 3)), image=rng.normal(size=(60, 4)))
    >>> y = X["text"][:, 0] + X["image"][:, 0] > 0
    >>> clf = MultimodalClassifier(n_members=1, max_epochs=5, random_state=0)
    >>> grid = {"fusion": ["concat", "mfb"], "lr": [0.001, 0.01], "dropout": [0.1, 0.3]}
    >>> search = FusionSearchCV(clf, grid, cv=3).fit(X, y)
    >>> search.cv_results_["mean_test_score"].shape
    (8,)
    >>> search.stacks_["trained"], search.stacks_["fits"]
    (['together', 'together'], [12, 12])
    >>> search.predict(X[:2]).shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseSearchCV._parameter_constraints,
        "param_grid": [dict, list],
        "halving": ["boolean"],
        "random_state": ["random_state"],
        "journal": [str, os.PathLike, None],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_iter: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        halving: bool = False,
        factor: int = 3,
        min_epochs: int | str = "auto",
        verbose: int = 0,
        pre_dispatch: int | str = "all",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        random_state: Any = None,
        journal: Any = None,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.n_iter = n_iter
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.cv = cv
        self.halving = halving
        self.factor = factor
        self.min_epochs = min_epochs
        self.verbose = verbose
        self.pre_dispatch = pre_dispatch
        self.error_score = error_score
        self.return_train_score = return_train_score
        self.random_state = random_state
        self.journal = journal

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit all candidates on all folds, and the best one on all samples.

        Parameters
        ----------
        X : Blocks, dict of arrays, DataFrame or array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        **params
            For the estimator's ``fit``, the scorer and the splitter, as GridSearchCV hands them on: ``groups`` to
            the splitter, all others, cut to the rows of a fold, to ``fit``; or as metadata routing says.

        Returns
        -------
        self
        """
        self._check_params()
        refuse_propagated(self.estimator)
        tasks = FitTasks(self, 1 + bool(self.refit), X, y, params.get("sample_weight"))
        with showing(self.verbose > 0), all_or_nothing(self), once():
            interrupted = self._search(X, y, params, tasks)
            if interrupted is None:
                tasks.finish()
        if interrupted is not None:
            raise interrupted
        return self

    def _search(self, X: Any, y: Any, params: dict[str, Any], tasks: FitTasks) -> KeyboardInterrupt | None:
        """All of a fit; the interrupt that ended it early, if there was one."""
        forget_fit(self)
        X = blocks_if_named(as_frame(X))
        if isinstance(self.estimator, MultimodalEstimator):
            refuse_unnamed(X)
        scorer, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = check_method_params(X, params=params)
        routed_params = self._get_routed_params_for_fit(params)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, **routed_params.splitter.split))
        self.n_splits_ = len(splits)
        if not splits:
            raise ValueError(f"No fits were performed: cv={self.cv!r} gives no splits.")
        candidates = self._candidates()
        if self.verbose > 0:
            n = len(splits) * len(candidates)
            print(f"Fitting {len(splits)} folds for each of {len(candidates)} candidates, totalling {n} fits")
        data = Data(
            X,
            y,
            splits,
            routed_params.estimator.fit,
            routed_params.scorer.score,
            scorer,
            self.error_score,
            self.return_train_score,
            metric=refit_metric if isinstance(refit_metric, str) else None,
        )
        out, interrupted = self._evaluate(candidates, data, tasks)
        self._keep_results(candidates, out, scorer, refit_metric)
        if self.refit and interrupted is None:
            try:
                self._refit(X, y, routed_params.estimator.fit, tasks)
            except KeyboardInterrupt as error:
                interrupted = error
                warn("the search was interrupted in its refit: cv_results_ is kept, there is no best_estimator_.")
        return interrupted

    def _check_params(self) -> None:
        self._validate_params()
        check_scalar(self.factor, "factor", Integral, min_val=2)
        for name, automatic in (("min_epochs", "auto"), ("n_iter", None)):
            if getattr(self, name) != automatic:
                check_scalar(getattr(self, name), name, Integral, min_val=1)

    def _keep_results(
        self, candidates: list[Candidate], out: list[dict[str, Any]], scorer: Any, refit_metric: Any
    ) -> None:
        """Set what is known after all fits: the table of results, and which candidate is the best."""
        warn_or_raise_about_fit_failures(out, self.error_score)
        if callable(self.scoring):
            insert_error_scores(out, self.error_score)
        shape = (len(candidates), self.n_splits_)
        more = {"n_epochs": np.reshape([result.pop("n_epochs") for result in out], shape).mean(axis=1)}
        dropped = np.reshape([result.pop("dropped") for result in out], shape).any(axis=1)
        if self.halving:
            more["dropped"] = dropped
        results = self._format_results([candidate.params for candidate in candidates], self.n_splits_, out, more)
        first = out[0]["test_scores"]
        self.multimetric_ = isinstance(first, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first)
            refit_metric = self.refit
        self.scorer_ = getattr(scorer, "_scorers", scorer)
        self.cv_results_ = results
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
            self.best_params_ = results["params"][self.best_index_]
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]

    def _refit(self, X: Any, y: Any, fit_params: dict[str, Any], tasks: FitTasks) -> None:
        start = time.perf_counter()
        best = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        with tasks.fitting("refit-with-best-params", best):
            self.best_estimator_ = best.fit(X, *(() if y is None else (y,)), **fit_params)
        self.refit_time_ = time.perf_counter() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    @staticmethod
    def _select_best_index(refit: Any, refit_metric: str, results: dict[str, Any]) -> int:
        """The best of those that were not dropped."""
        if callable(refit):
            return BaseSearchCV._select_best_index(refit, refit_metric, results)
        rank = results[f"rank_test_{refit_metric}"]
        return int(np.where(results.get("dropped", False), len(rank) + 1, rank).argmin())

    def _candidates(self) -> list[Candidate]:
        if self.n_iter is None:
            settings = ParameterGrid(self.param_grid)
        else:
            settings = ParameterSampler(self.param_grid, self.n_iter, random_state=self.random_state)
        settings = current().first(lambda: list(settings))
        named = sorted({key for params in settings for key in params})
        found = []
        for number, params in enumerate(settings):
            estimator = clone(self.estimator).set_params(**clone(params, safe=False))
            before = None
            if isinstance(estimator, Pipeline):
                name = estimator.steps[-1][0]
                values = estimator.get_params()  # of several grids one may name what another leaves as it is
                own = [key for key in named if key in values and key != name and not key.startswith(f"{name}__")]
                before = tuple((key, content_key(values[key])) for key in own)
            found.append(Candidate(number, params, estimator, before))
        if not found:
            raise ValueError("No fits were performed: there are no candidates.")
        return found

    def _evaluate(
        self, candidates: list[Candidate], data: Data, tasks: FitTasks
    ) -> tuple[list[dict[str, Any]], KeyboardInterrupt | None]:
        """A result for each candidate and fold, and the interrupt that left some without."""
        journal = None if self.journal is None else self._open_journal(candidates, data)
        halving = Halving(self.factor, self.min_epochs) if self.halving else None
        options: dict[str, Any] = {"verbose": self.verbose > 0, "pre_dispatch": self.pre_dispatch}
        run = Run(candidates, data, self.n_jobs, halving=halving, journal=journal, **options)
        n_fits, interrupted = len(run.keys), None
        try:
            with progress("fits", n_fits, "fit") as bar, tasks.task("search", n_fits) as search:

                def tell(found: Mapping[Any, Any]) -> None:
                    for _ in found:
                        tasks.end(tasks.begin(search, "candidate-split-evaluation"))
                    bar.advance(len(found))

                run.run(tell)
        except KeyboardInterrupt as error:
            if not run.results:
                raise
            interrupted = error
            warn(
                f"the search was interrupted after {len(run.results)} of {n_fits} fits, which are kept in "
                "cv_results_; nothing is refitted."
            )
        self.stacks_ = Table(run.report)
        return run.all(), interrupted

    def _open_journal(self, candidates: list[Candidate], data: Data) -> Journal:
        """The journal of this search, with what is finished of it."""
        how = self.halving, self.factor, self.min_epochs, data.metric
        parts = {
            "estimator": clone(self.estimator),
            "grid": [candidate.params for candidate in candidates],
            "samples": data.X,
            "targets": data.y,
            "folds": data.splits,
            "parameters of fit": (data.fit_params, data.score_params),
            "scoring": (self.scoring, self.error_score, self.return_train_score),
            "halving": how if self.halving else None,
        }
        journal = Journal(self.journal, parts)
        if self.verbose > 0 and journal.done:
            print(f"{len(journal.done)} of these fits are in {journal.path}")
        return journal
