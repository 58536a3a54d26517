"""What one process does: candidates on folds, those of one shape trained together, and scored."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import time
import traceback
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import clone

from skmm._devices import draw_seed, find_device, free_memory, seeded
from skmm._progress import showing
from skmm._ranks import current
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._experts import ExpertFolds
from skmm.estimators._prepared import Prepared
from skmm.model_selection._candidates import Candidate, groups_of, input_key
from skmm.model_selection._folds import Data, Fold, Folds, failure, make_fold
from skmm.model_selection._journal import Journal
from skmm.model_selection._search_loop import (
    Learner,
    SearchLoop,
    obstacle,
    shape,
    slower_together,
    step_of_its_own,
)
from skmm.training._memory import bytes_for_backward, bytes_of
from skmm.training._sets import TrainingSet

_MEMORY_SHARE = 0.5  # of the memory that is free, for what is trained at once
_TOO_LARGE = "side by side its folds take more memory than there is"

Pair = tuple[Candidate, Fold]
Key = tuple[int | str, int]  # the name of a candidate and the number of a fold


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

    # by candidate and fold: what scikit-learn's fits give (test_scores, train_scores, fit_time,
    # score_time, fit_error), n_epochs, and whether halving dropped it
    results: dict[Key, dict[str, Any]] = field(default_factory=dict)
    report: list[dict[str, Any]] = field(default_factory=list)  # rows of the search's stacks_
    interrupted: bool = False
    unwritten: list[Any] = field(default_factory=list)  # results that the journal is yet to get


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
    """Candidates on folds, with all that these have in common.

    Parameters
    ----------
    candidates : list of Candidate
        Those that may share a loop train in one.
    data : Data
        What they are fitted to.
    folds : mapping of object to Folds
        Folds behind transformers, by what tells these from others; what is not there is made.
    numbers : sequence of int
        The folds that are asked for.
    halving : Halving, optional
        How many of the candidates train on when.
    n_jobs : int, default=1
        Processes that work at once.
    journal : Journal, optional
        What is finished.
    verbose : bool, default=False
    """

    def __init__(
        self,
        candidates: list[Candidate],
        data: Data,
        folds: Mapping[Any, Folds],
        numbers: Sequence[int],
        *,
        halving: Halving | None = None,
        n_jobs: int = 1,
        journal: Journal | None = None,
        verbose: bool = False,
    ) -> None:
        self.journal, self.verbose = journal, verbose
        # in the process of the caller: what is found, as it is found
        self.tell: Callable[[dict[Key, dict[str, Any]]], None] | None = None
        self.candidates, self.data, self.halving, self.n_jobs = candidates, data, halving, n_jobs
        self.numbers = list(numbers)
        self.folds = {key: folds[key] for key in {c.before for c in candidates} if key in folds}
        # what candidates share before their networks are built, and the same samples on the device
        self.prepared: dict[Any, Prepared] = {}
        self.loaded: dict[Any, tuple[TrainingSet, TrainingSet | None]] = {}
        self.expert_seconds: dict[ExpertFolds, float] = {}
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
            with _threads(self.n_jobs), showing(self.verbose), self.data.quiet():
                self._run()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        return self.outcome

    def lacks(self, candidate: Candidate, number: int) -> bool:
        """Whether nothing is known of a fit yet."""
        return self.journal is None or (candidate.name, number) not in self.journal.done

    def _run(self) -> None:
        groups = groups_of([c for c in self.candidates if any(self.lacks(c, i) for i in self.numbers)])
        for i, group in enumerate(groups):
            start = time.perf_counter()
            stacks: dict[Any, list[Learner]] = {}
            for candidate in group:
                self._assign_all(candidate, stacks)
            self._write()
            seconds = time.perf_counter() - start
            n = sum(map(len, stacks.values()))
            for learners in stacks.values():
                self._train_stack(learners, seconds / n)
            self._fit_all_alone()
            self._forget([candidate for group in groups[i + 1 :] for candidate in group])

    def _forget(self, later: list[Candidate]) -> None:
        """Free the memory of what is finished, but for what later candidates share with it."""
        self.pair_of.clear()
        self.scored.clear()
        kept = set()
        for candidate in later:
            with contextlib.suppress(Exception):  # whatever is wrong with it is said where it is fitted
                kept |= {(candidate.before, i, input_key(candidate.on(i))) for i in self.numbers}
        self.prepared = {key: value for key, value in self.prepared.items() if key in kept}
        self.loaded = {key: value for key, value in self.loaded.items() if key in kept}
        experts = {prepared.experts for prepared in self.prepared.values()}
        self.expert_seconds = {own: value for own, value in self.expert_seconds.items() if own in experts}

    def _fold(self, candidate: Candidate, number: int) -> Fold:
        """A fold as a candidate sees it, which is made here unless it was given."""
        folds = self.folds.setdefault(candidate.before, Folds())
        for fold in folds:
            if fold.number == number:
                return fold
        pipeline = None if candidate.before is None else candidate.estimator
        folds.append(make_fold(self.data, number, pipeline, candidate.with_params))
        return folds[-1]

    def _assign_all(self, candidate: Candidate, stacks: dict[Any, list[Learner]]) -> None:
        """Put a candidate's fits into the stacks of their shapes, or among those that are alone."""
        reason = ""
        for number in self.numbers:
            if self.lacks(candidate, number):
                fold = self._fold(candidate, number)
                if fold.error is not None:
                    self.outcome.results[candidate.name, number] = failure(self.data, fold.error)
                    continue
                # what is alone on one fold is so on all: the others are not prepared before it is their turn
                reason = reason or self._assign(candidate, fold, stacks)
                if reason:
                    self.alone.setdefault(reason, []).append((candidate, fold))

    def _assign(self, candidate: Candidate, fold: Fold, stacks: dict[Any, list[Learner]]) -> str:
        """Put a fit into the stack of its shape, or say why there is none."""
        model = candidate.on(fold.number)
        if not isinstance(model, MultimodalEstimator):
            return f"{type(model).__name__} cannot be stacked"
        try:
            learner = self._learner(candidate, fold)
        except Exception as error:
            self._fail(error, candidate, fold)
            return ""
        # only side by side are the worse of them dropped
        reason = obstacle(learner) or ("" if self.halving else slower_together(learner))
        try:
            key = "" if reason else shape(learner)
        except Exception:  # whatever pickling a user's module raises
            reason = "its network holds what cannot be pickled, and so not compared with others"
        if not reason:
            self.pair_of[learner] = (candidate, fold)
            stacks.setdefault(key, []).append(learner)
        return reason

    def _train_stack(self, learners: list[Learner], seconds: float) -> None:
        """Train learners of one shape in parts that memory holds; what cannot train together is left alone."""
        parts = self._split(learners)
        single = _TOO_LARGE if len(learners) > 1 else "no other has its shape"
        while parts:
            stack = parts.pop(0)
            reason = self._train(stack, seconds) if len(stack) > 1 else single
            pairs = [self.pair_of[learner] for learner in stack]
            rest = [(c, fold) for c, fold in pairs if (c.name, fold.number) not in self.outcome.results]
            if reason == _TOO_LARGE and len(rest) > 1:
                parts = self._halves(rest) + parts
            elif rest:
                self.alone.setdefault(reason, []).extend(rest)

    def _learner(self, candidate: Candidate, fold: Fold) -> Learner:
        """An estimator up to the point where training begins; what others did before it is not done again."""
        estimator, key = self._begin(candidate, fold)
        device = find_device(estimator.device)
        prepared = self._prepare(key, estimator, fold)
        if key not in self.loaded:
            self.loaded[key] = estimator._load_training(prepared, device)
        random = copy.deepcopy(prepared.random)
        with seeded(draw_seed(random), device):
            net = estimator._build(prepared, random, device)
        return Learner(estimator, prepared, random, net, *self.loaded[key], candidate.name)

    @staticmethod
    def _begin(candidate: Candidate, fold: Fold) -> tuple[Any, Any]:
        """An estimator whose parameters were checked, and what it shares with others that are equal in this."""
        estimator = clone(candidate.on(fold.number))
        inspect.signature(estimator.fit).bind(fold.X_train, fold.y_train, **fold.fit_params)
        estimator._check_params()
        return estimator, (candidate.before, fold.number, input_key(estimator))

    def _prepare(self, key: Any, estimator: MultimodalEstimator, fold: Fold) -> Prepared:
        """What an estimator knows of a fold before there is a network, which others know too."""
        if key not in self.prepared:
            self.prepared[key] = estimator._prepare(fold.X_train, fold.y_train, **fold.fit_params)
        return self.prepared[key]

    def _split(self, learners: list[Learner]) -> list[list[Learner]]:
        """Learners in parts that memory holds; all folds of a candidate stay together if it holds them."""
        each = _member_bytes(learners[0]) * learners[0].n_members
        free = free_memory(learners[0].training.data.device) * _MEMORY_SHARE / self.n_jobs
        # the samples of all folds lie side by side
        sets = {id(learner.training.data): learner.training.data for learner in learners}
        free -= sum(bytes_of(data) for data in sets.values())
        most = max(1, int(free / each))
        parts: list[list[Learner]] = [[]]
        for name in dict.fromkeys(learner.candidate for learner in learners):
            own = [learner for learner in learners if learner.candidate == name]
            if parts[-1] and len(parts[-1]) + len(own) > most:
                parts.append([])
            parts[-1] += own
        return [part[i : i + most] for part in parts for i in range(0, len(part), most)]

    def _halves(self, pairs: list[Pair]) -> list[list[Learner]]:
        """Learners that begin anew, in halves: candidates with all their folds, or the folds of one."""
        several = len({candidate.name for candidate, _ in pairs}) > 1
        units = [candidate.name if several else fold.number for candidate, fold in pairs]
        of_first = list(dict.fromkeys(units))[: len(set(units)) // 2]
        halves: list[list[Learner]] = [[], []]
        for unit, pair in zip(units, pairs, strict=True):
            learner = self._learner(*pair)
            self.pair_of[learner] = pair
            halves[unit not in of_first].append(learner)
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
            scores: dict[Hashable, list[float]] = {}
            for learner in loop.learners:
                loop.hand_back(learner)
            for learner in learners:
                # one that fails on a fold is the worst
                score = self._rank_score(learner) if learner.error is None else -math.inf
                scores.setdefault(learner.candidate, []).append(score)
            best_first = sorted(scores, key=lambda name: -np.nan_to_num(np.mean(scores[name]), nan=-np.inf))
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
            before = self._fit_experts(learner.estimator, learner.prepared)
            if scored_at < learner.n_epochs:  # it was trained since, if it was scored at all
                learner.complete()
                scores = None
        except Exception as error:
            self._fail(error, candidate, fold, learner.n_epochs)
            return
        seconds += before + time.perf_counter() - start + fold.seconds
        dropped = learner.n_epochs < learner.net.max_epochs and not learner.finished
        scores = scores or self._scores(learner.estimator, candidate, fold)
        self._keep(candidate, fold, scores, seconds, learner.n_epochs, dropped)

    def _fit_experts(self, estimator: MultimodalEstimator, prepared: Prepared) -> float:
        """Fit what joins the network in the stack; the seconds that this took, where another did before."""
        experts = prepared.experts
        if not prepared.plan.blind or not estimator._wants_stack():
            return 0.0
        if experts in self.expert_seconds:
            return self.expert_seconds[experts]
        start = time.perf_counter()
        experts.fit()
        self.expert_seconds[experts] = time.perf_counter() - start
        return 0.0

    def _fit_all_alone(self) -> None:
        """Fit what is left alone, one after the other."""
        alone, self.alone = self.alone, {}
        if alone:  # of the samples on the device one set at a time is enough
            self.loaded.clear()
        for reason, pairs in alone.items():
            self._fit_alone(reason, pairs)

    def _fit_alone(self, reason: str, pairs: list[Pair]) -> None:
        begin = time.perf_counter()
        epochs = 0
        for candidate, fold in pairs:
            start = time.perf_counter()
            try:
                estimator, seconds = self._fitted(candidate, fold)
            except Exception as error:
                self._fail(error, candidate, fold)
                self._write()
                continue
            # what is no network has done none
            n_epochs = getattr(estimator, "n_iter_", 0) if hasattr(estimator, "net_") else 0
            epochs = max(epochs, n_epochs)
            seconds += time.perf_counter() - start + fold.seconds
            self._keep(candidate, fold, self._scores(estimator, candidate, fold), seconds, n_epochs)
            self._write()
        self._report(pairs, time.perf_counter() - begin, epochs, reason)

    def _fitted(self, candidate: Candidate, fold: Fold) -> tuple[Any, float]:
        """A fitted estimator, and the seconds that another had taken for a part of it."""
        args, model = (() if fold.y_train is None else (fold.y_train,)), candidate.on(fold.number)
        network = isinstance(model, MultimodalEstimator) and not step_of_its_own(model)
        # what is limited in time has its own experts: how many of them are fitted depends on when they begin
        if not network or model.time_limit is not None or current().world_size > 1:
            return clone(model).fit(fold.X_train, *args, **fold.fit_params), 0.0
        estimator, key = self._begin(candidate, fold)
        prepared = self._prepare(key, estimator, fold)
        seconds = self._fit_experts(estimator, prepared)
        estimator._fit_open(fold.X_train, *args, **fold.fit_params, prepared=prepared)
        return estimator, seconds

    # -- results -------------------------------------------------------------------------------------------------

    def _scores(self, estimator: Any, candidate: Candidate, fold: Fold) -> dict[str, Any]:
        """Scores of a fitted estimator; what raises then is no failed fit."""
        try:
            return self.data.scores(estimator, fold)
        except Exception as error:
            error.add_note(f"Raised by {candidate} on fold {fold.number}.")
            raise

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
        self.outcome.results[candidate.name, fold.number] = {**scores, **told}

    def _fail(self, error: Exception, candidate: Candidate, fold: Fold, n_epochs: int = 0) -> None:
        """Keep the error that is being handled in place of a score."""
        if self.data.error_score == "raise":
            error.add_note(f"Raised by {candidate} on fold {fold.number}.")
            raise error
        self.outcome.results[candidate.name, fold.number] = failure(self.data, traceback.format_exc(), n_epochs)

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
            self.tell(dict(new))

    def _report(self, pairs: list[Pair], seconds: float, epochs: int, reason: str) -> None:
        if pairs:
            self.outcome.report.append(
                {
                    "trained": "alone" if reason else "together",
                    "fits": len(pairs),
                    "candidates": sorted({candidate.name for candidate, _ in pairs}),
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
