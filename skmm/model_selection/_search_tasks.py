"""What one process of a search does: candidates on all folds, those of one shape trained together."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import joblib
import numpy as np
import torch
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from torch import nn

from skmm._devices import draw_seed, find_device, free_memory, seeded
from skmm._parallel import Shared, size_of
from skmm._private import check_method_params, safe_indexing, score
from skmm._progress import showing
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._experts import ExpertFolds
from skmm.model_selection._journal import Journal
from skmm.model_selection._search_loop import Learner, SearchLoop, obstacle, shape, slower_together
from skmm.spec import Spec
from skmm.training._memory import bytes_for_backward, bytes_of

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
_MEMORY_SHARE = 0.5  # of the memory that is free, for what is trained at once
_TOO_LARGE = "side by side its folds take more memory than there is"


# -- one fold, as all candidates with the same transformers see it ------------------------------------------------


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
    seconds: float = 0.0
    error: str | None = None


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
    """What a search was given to fit, and how it scores."""

    X: Any
    y: Any
    splits: list[tuple[np.ndarray, np.ndarray]]
    fit_params: dict[str, Any]
    score_params: dict[str, Any]
    scorer: Any
    metric: str | None  # the one that halving ranks by, of several
    error_score: Any
    return_train_score: bool

    def rows(self, fold: int, which: int) -> tuple[Any, Any]:
        """Samples and targets that train (0) or test (1) in a fold."""
        rows = self.splits[fold][which]
        return safe_indexing(self.X, rows), None if self.y is None else safe_indexing(self.y, rows)


def make_fold(data: Data, number: int, pipeline: Pipeline | None) -> Fold:
    """A split of the data, with the transformers of a pipeline fitted to its training rows."""

    def params(given: dict[str, Any], which: int) -> dict[str, Any]:
        return check_method_params(data.X, params=given, indices=data.splits[number][which])

    samples = (*data.rows(number, 0), *data.rows(number, 1))
    scoring = params(data.score_params, 0), params(data.score_params, 1)
    fold = Fold(number, *samples, params(data.fit_params, 0), *scoring)
    if pipeline is None:
        return fold
    start = time.perf_counter()
    recorder = _Recorder(pipeline.steps[-1][1])
    fitted = clone(pipeline)
    fitted.steps[-1] = (pipeline.steps[-1][0], recorder)
    try:
        fitted.fit(fold.X_train, fold.y_train, **fold.fit_params)
        fold.X_train, fold.y_train, fold.fit_params = recorder.X_, recorder.y_, recorder.params_
        fold.transformers = fitted[:-1]
        if len(fitted) > 1:
            fold.X_test = fold.transformers.transform(fold.X_test)
    except Exception:
        if data.error_score == "raise":
            raise
        fold.error = traceback.format_exc()
    fold.seconds = time.perf_counter() - start
    return fold


@dataclass
class Candidate:
    """One setting of the parameters."""

    number: int
    params: dict[str, Any]
    estimator: Any
    last: Any  # the estimator itself or the last step of a pipeline
    before: Any  # what tells its transformers from those of other candidates; None outside a pipeline


Pair = tuple[Candidate, Fold]


@dataclass
class Halving:
    """Successive halving: at each rung one candidate in ``factor`` trains on."""

    factor: int
    min_epochs: int | str  # the first rung, or "auto" for one that leaves room for a second

    def rungs(self, max_epochs: int) -> list[int]:
        """Epochs after which the worse candidates are dropped."""
        epochs = max(1, math.ceil(max_epochs / self.factor**2)) if self.min_epochs == "auto" else self.min_epochs
        found = []
        while int(epochs) < max_epochs:
            found.append(int(epochs))
            epochs = int(epochs) * self.factor
        return found


@dataclass
class Outcome:
    """What a task found; of a task that was interrupted, what was finished until then."""

    # by the numbers of candidate and fold: what scikit-learn's fits give (test_scores, train_scores, fit_time,
    # score_time, fit_error), n_epochs, and whether halving dropped it
    results: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    report: list[dict[str, Any]] = field(default_factory=list)  # rows of the search's stacks_
    interrupted: bool = False
    unwritten: list[Any] = field(default_factory=list)  # results that the journal is yet to get


# -- keys ---------------------------------------------------------------------------------------------------------


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


# -- what one process does ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _threads(n_jobs: int) -> Iterator[None]:
    """Share the cores among the processes."""
    before = torch.get_num_threads()
    if n_jobs > 1:
        torch.set_num_threads(max(1, min(before, joblib.cpu_count() // n_jobs)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _member_bytes(learner: Learner) -> int:
    """Memory that a member takes in training: weights, gradient, optimizer, best weights, and activations."""
    module, several = learner.net.module_, learner.n_members > 1
    rows = learner.training.rows[:, : learner.net.batch_size]
    values, present = learner.training.data.take(rows if several else rows[0])
    saved = bytes_for_backward(module, values, present, own_rows=several)
    weights = sum(p.nbytes for p in module.parameters())
    # what is saved for the backward pass, as much again on the way back
    return (6 * weights + 2 * saved) // learner.n_members


class Task:
    """Candidates that may share a loop, on all folds."""

    def __init__(
        self,
        candidates: list[Candidate],
        data: Data,
        folds: Mapping[Any, Folds],
        halving: Halving | None,
        n_jobs: int,
        experts: dict[Any, ExpertFolds],
        journal: Journal | None = None,
        verbose: bool = False,
    ) -> None:
        self.experts, self.journal, self.verbose = experts, journal, verbose
        self.tell: Callable[[int], None] | None = None  # in the process of the search: how many more are done
        self.candidates, self.data, self.halving, self.n_jobs = candidates, data, halving, n_jobs
        self.folds = {key: folds[key] for key in {c.before for c in candidates} if key in folds}
        self.prepared: dict[Any, Any] = {}  # what candidates share before their networks are built
        self.pair_of: dict[Learner, Pair] = {}
        self.scored: dict[Learner, tuple[int, dict[str, Any]]] = {}  # by halving, after how many epochs
        self.alone: dict[str, list[Pair]] = {}  # what is to be fitted one after the other, by the reason
        self.outcome = Outcome()
        self.n_written = 0  # of its results, which are kept in the order in which they were found

    def __getstate__(self) -> dict[str, Any]:
        # what several tasks read is no part of one, and who is told of it is in the process of the search
        return {**vars(self), "data": None, "folds": dict.fromkeys(self.folds), "tell": None}

    def n_weights(self, candidate: Candidate, fold: Fold) -> int:
        """Weights of a candidate's network, about which its time grows; 0 where it cannot be built."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to say is said where it is fitted, as are errors
            try:
                learner = self._learner(candidate, fold)
            except Exception:
                return 0
        return sum(p.numel() for p in learner.net.module_.parameters())

    def run(self) -> Outcome:
        """Fit every candidate on every fold and score it; Ctrl-C ends it early, and is noted in what it returns."""
        try:
            with _threads(self.n_jobs), showing(self.verbose):
                self._run()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        return self.outcome

    def _run(self) -> None:
        if None in {c.before for c in self.candidates}:
            self.folds[None] = Folds(make_fold(self.data, i, None) for i in range(len(self.data.splits)))
        start = time.perf_counter()
        stacks: dict[Any, list[Learner]] = {}
        for candidate in self.candidates:
            for fold in self.folds[candidate.before]:
                if self.journal is None or (candidate.number, fold.number) not in self.journal.done:
                    self._assign(candidate, fold, stacks)
        self._write()
        seconds = time.perf_counter() - start
        n = sum(map(len, stacks.values()))
        for learners in stacks.values():
            self._train_stack(learners, seconds / n)
        self.prepared.clear()
        for reason, pairs in self.alone.items():
            self._fit_alone(reason, pairs)

    def _assign(self, candidate: Candidate, fold: Fold, stacks: dict[Any, list[Learner]]) -> None:
        """Put a fit into the stack of its shape, or among those that are alone; it may have failed already."""
        if fold.error is not None:
            self.outcome.results[candidate.number, fold.number] = failure(self.data, fold.error)
            return
        if not isinstance(candidate.last, MultimodalEstimator):
            reason = f"{type(candidate.last).__name__} cannot be stacked"
            self.alone.setdefault(reason, []).append((candidate, fold))
            return
        try:
            learner = self._learner(candidate, fold)
        except Exception:
            self._fail(candidate, fold)
            return
        # only side by side are the worse of them dropped
        reason = obstacle(learner) or ("" if self.halving else slower_together(learner))
        try:
            key = "" if reason else shape(learner)
        except Exception:  # whatever pickling a user's module raises
            reason = "its network holds what cannot be pickled, and so not compared with others"
        if reason:
            self.alone.setdefault(reason, []).append((candidate, fold))
        else:
            self.pair_of[learner] = (candidate, fold)
            stacks.setdefault(key, []).append(learner)

    def _train_stack(self, learners: list[Learner], seconds: float) -> None:
        """Train learners of one shape in parts that memory holds; what cannot train together is left alone."""
        parts = self._split(learners)
        while parts:
            stack = parts.pop(0)
            reason = self._train(stack, seconds) if len(stack) > 1 else "no other has its shape"
            pairs = [self.pair_of[learner] for learner in stack]
            rest = [pair for pair in pairs if (pair[0].number, pair[1].number) not in self.outcome.results]
            if reason == _TOO_LARGE and len({candidate.number for candidate, _ in rest}) > 1:
                parts = self._halves(rest) + parts
            elif rest:
                self.alone.setdefault(reason, []).extend(rest)

    def _learner(self, candidate: Candidate, fold: Fold) -> Learner:
        """An estimator up to the point where training begins; what others did before it is not done again."""
        estimator = clone(candidate.last)
        inspect.signature(estimator.fit).bind(fold.X_train, fold.y_train, **fold.fit_params)
        estimator._check_params()
        device = find_device(estimator.device)
        key = candidate.before, fold.number, _params_key(estimator, _AFTER_INPUT), estimator._hides_modalities()
        if key not in self.prepared:
            prepared = estimator._prepare(fold.X_train, fold.y_train, **fold.fit_params)
            # tasks of one process have their experts in common, whatever differs of their networks
            prepared = prepared._replace(experts=self.experts.setdefault(key, prepared.experts))
            self.prepared[key] = prepared, estimator._load_training(prepared, device)
        prepared, (training, validation) = self.prepared[key]
        random = copy.deepcopy(prepared.random)
        with seeded(draw_seed(random), device):
            net = estimator._build(prepared, random, device)
        return Learner(estimator, prepared, random, net, training, validation, candidate.number)

    def _split(self, learners: list[Learner]) -> list[list[Learner]]:
        """Learners in parts that memory holds; all folds of a candidate stay together."""
        each = _member_bytes(learners[0]) * learners[0].n_members
        free = free_memory(learners[0].training.data.device) * _MEMORY_SHARE / self.n_jobs
        # the samples of all folds lie side by side
        sets = {id(learner.training.data): learner.training.data for learner in learners}
        free -= sum(bytes_of(data) for data in sets.values())
        most = max(1, int(free / each))
        parts: list[list[Learner]] = [[]]
        for number in dict.fromkeys(learner.candidate for learner in learners):
            own = [learner for learner in learners if learner.candidate == number]
            if parts[-1] and len(parts[-1]) + len(own) > most:
                parts.append([])
            parts[-1] += own
        return parts

    def _halves(self, pairs: list[Pair]) -> list[list[Learner]]:
        """Learners that begin anew, those of the first half of the candidates and the others."""
        numbers = list(dict.fromkeys(candidate.number for candidate, _ in pairs))
        halves: list[list[Learner]] = [[], []]
        for candidate, fold in pairs:
            learner = self._learner(candidate, fold)
            self.pair_of[learner] = (candidate, fold)
            halves[numbers.index(candidate.number) >= len(numbers) // 2].append(learner)
        return halves

    def _train(self, learners: list[Learner], seconds: float) -> str:
        """Train learners of one shape together, and score them; why it failed, if it did."""
        start = time.perf_counter()
        with seeded(draw_seed(learners[0].random), learners[0].training.data.device):
            loop, reason = None, ""
            try:
                loop = SearchLoop(learners)
                if self.halving is not None:
                    self._halve(loop, learners)
                loop.run()
            except Exception as error:  # whatever a user's module raises under torch.vmap
                reason = f"together they raise {type(error).__name__}: {str(error).partition('.')[0]}"
                if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
                    reason = _TOO_LARGE
            finally:
                spent = time.perf_counter() - start
                epochs = sum(learner.n_epochs for learner in learners) or 1
                finished = [] if loop is None else [x for x in learners if x not in set(loop.learners)]
                for learner in finished:
                    self._finish(learner, seconds + spent * learner.n_epochs / epochs)
                self._report([self.pair_of[x] for x in finished], spent, max(x.n_epochs for x in learners), "")
        # of a stack that was interrupted nothing: what is left of it would be another, which rounds otherwise
        self._write()
        return reason

    def _halve(self, loop: SearchLoop, learners: list[Learner]) -> None:
        """Train, dropping all but the best of the candidates at each rung."""
        assert self.halving is not None
        max_epochs = max(learner.net.max_epochs for learner in learners)
        for rung in self.halving.rungs(max_epochs):
            loop.run(rung)
            scores: dict[int, list[float]] = {}
            for learner in loop.learners:
                loop.hand_back(learner)
            for learner in learners:
                # one that fails on a fold is the worst
                score = self._rank_score(learner) if learner.error is None else -math.inf
                scores.setdefault(learner.candidate, []).append(score)
            best_first = sorted(scores, key=lambda number: -np.nan_to_num(np.mean(scores[number]), nan=-np.inf))
            chosen = set(best_first[: math.ceil(len(best_first) / self.halving.factor)])
            loop.drop([learner for learner in loop.learners if learner.candidate not in chosen])
            learners = [learner for learner in learners if learner.candidate in chosen]

    def _rank_score(self, learner: Learner) -> float:
        estimator = copy.copy(learner.estimator)
        learner.complete(estimator)
        scored = self._scores(estimator, *self.pair_of[learner])
        self.scored[learner] = learner.n_epochs, scored
        scores = scored["test_scores"]
        if isinstance(scores, dict):
            scores = scores[self.data.metric] if self.data.metric in scores else next(iter(scores.values()))
        return scores

    def _finish(self, learner: Learner, seconds: float) -> None:
        """Complete a trained estimator, and score it."""
        candidate, fold = self.pair_of[learner]
        start = time.perf_counter()
        try:
            if learner.error is not None:
                raise learner.error
            scored_at, scores = self.scored.get(learner, (-1, None))
            if scored_at < learner.n_epochs:  # it was trained since, if it was scored at all
                learner.complete()
                scores = None
        except Exception:
            self._fail(candidate, fold, learner.n_epochs)
            return
        seconds += time.perf_counter() - start + fold.seconds
        dropped = learner.n_epochs < learner.net.max_epochs and not learner.finished
        scores = scores or self._scores(learner.estimator, candidate, fold)
        self._keep(candidate, fold, scores, seconds, learner.n_epochs, dropped)

    def _fit_alone(self, reason: str, pairs: list[Pair]) -> None:
        """Fit one after the other."""
        begin = time.perf_counter()
        epochs = 0
        for candidate, fold in pairs:
            start = time.perf_counter()
            estimator = clone(candidate.last)
            args = () if fold.y_train is None else (fold.y_train,)
            try:
                estimator.fit(fold.X_train, *args, **fold.fit_params)
            except Exception:
                self._fail(candidate, fold)
                self._write()
                continue
            # what is no network has done none
            n_epochs = getattr(estimator, "n_iter_", 0) if hasattr(estimator, "net_") else 0
            epochs = max(epochs, n_epochs)
            seconds = time.perf_counter() - start + fold.seconds
            self._keep(candidate, fold, self._scores(estimator, candidate, fold), seconds, n_epochs)
            self._write()
        self._report(pairs, time.perf_counter() - begin, epochs, reason)

    # -- results -------------------------------------------------------------------------------------------------

    def _scores(self, estimator: Any, candidate: Candidate, fold: Fold) -> dict[str, Any]:
        d = self.data
        X_test, X_train = fold.X_test, fold.X_train
        parts = getattr(d.scorer, "_scorers", {"": d.scorer}).values()
        if fold.transformers is not None and not all(hasattr(s, "get_metadata_routing") for s in parts):
            # scikit-learn's own scorers only ask for predictions; a user's function may look into the pipeline
            name = candidate.estimator.steps[-1][0]
            estimator = Pipeline([*fold.transformers.steps, (name, estimator)])
            X_train, X_test = d.rows(fold.number, 0)[0], d.rows(fold.number, 1)[0]
        start = time.perf_counter()
        found = {"test_scores": score(estimator, X_test, fold.y_test, d.scorer, fold.score_test, d.error_score)}
        found["score_time"] = time.perf_counter() - start
        if d.return_train_score:
            found["train_scores"] = score(
                estimator, X_train, fold.y_train, d.scorer, fold.score_train, d.error_score
            )
        return found

    def _keep(
        self,
        candidate: Candidate,
        fold: Fold,
        scores: dict[str, Any],
        seconds: float,
        n_epochs: int,
        dropped: bool = False,
    ) -> None:
        """Keep the scores of a fitted estimator."""
        told = {"fit_time": seconds, "fit_error": None, "n_epochs": n_epochs, "dropped": dropped}
        self.outcome.results[candidate.number, fold.number] = {**scores, **told}

    def _fail(self, candidate: Candidate, fold: Fold, n_epochs: int = 0) -> None:
        """Keep the error that is being handled in place of a score."""
        if self.data.error_score == "raise":
            raise
        error = traceback.format_exc()
        self.outcome.results[candidate.number, fold.number] = failure(self.data, error, n_epochs)

    def _write(self) -> None:
        """Write into the journal what was found since the last time."""
        new = list(self.outcome.results.items())[self.n_written :]
        if self.journal is not None and new:
            try:
                self.journal.add(new)
            except FileNotFoundError:  # it is on the disk of another machine
                self.outcome.unwritten += new
        self.n_written += len(new)
        if self.tell is not None:
            self.tell(len(new))

    def _report(self, pairs: list[Pair], seconds: float, epochs: int, reason: str) -> None:
        if pairs:
            self.outcome.report.append(
                {
                    "trained": "alone" if reason else "together",
                    "fits": len(pairs),
                    "candidates": sorted({candidate.number for candidate, _ in pairs}),
                    "folds": sorted({fold.number for _, fold in pairs}),
                    "epochs": epochs,
                    "seconds": seconds,
                    "reason": reason,
                }
            )


def run_task(task: Task, data: Data, *folds: Folds) -> Outcome:
    """Run a task, maybe in another process, on the data and the folds behind transformers that were its own."""
    task.data, task.folds = data, dict(zip(task.folds, folds, strict=True))
    return task.run()


def failure(data: Data, error: str, n_epochs: int = 0) -> dict[str, Any]:
    """A result without a score."""
    scorers = getattr(data.scorer, "_scorers", None)
    scores = data.error_score if scorers is None else dict.fromkeys(scorers, data.error_score)
    return {
        "test_scores": scores,
        **({"train_scores": scores} if data.return_train_score else {}),
        "fit_time": 0.0,
        "score_time": 0.0,
        "fit_error": error,
        "n_epochs": n_epochs,
        "dropped": False,
    }


def divide(candidates: list[Candidate], n_jobs: int) -> list[list[Candidate]]:
    """Candidates that may share a loop, in parts that keep all processes busy."""
    groups: dict[Any, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(_params_key(candidate.last, _OF_EACH), []).append(candidate)
    size = math.ceil(len(candidates) / n_jobs)
    parts = []
    for group in groups.values():
        n = math.ceil(len(group) / size)
        parts += [group[i * len(group) // n : (i + 1) * len(group) // n] for i in range(n)]
    return parts
