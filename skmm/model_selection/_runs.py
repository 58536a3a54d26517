"""Candidates on all folds, shared out among processes: what a search, a comparison and a cross-validation run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import joblib
import numpy as np

from skmm._devices import find_device
from skmm._parallel import call_all, on_cluster
from skmm.estimators._base import MultimodalEstimator
from skmm.model_selection._candidates import Candidate, divide
from skmm.model_selection._folds import Data, Folds, failure, make_fold
from skmm.model_selection._journal import Journal
from skmm.model_selection._search_tasks import Halving, Key, Outcome, Task, run_task


class Run:
    """Candidates on all folds.

    Parameters
    ----------
    candidates : list of Candidate
    data : Data
    n_jobs : int or None
    halving : Halving, optional
    journal : Journal, optional
        What it has is not fitted again, all else is written into it.
    verbose : bool, default=False
        Whether to show what trains.
    pre_dispatch : int or str, default="all"

    Attributes
    ----------
    results : dict
        What was found of each candidate's name and each fold until now, also of a run that ended early.
    report : list of dict
        What trained together, and what did not.
    """

    def __init__(
        self,
        candidates: list[Candidate],
        data: Data,
        n_jobs: int | None,
        *,
        halving: Halving | None = None,
        journal: Journal | None = None,
        verbose: bool = False,
        pre_dispatch: int | str = "all",
    ) -> None:
        self.candidates, self.data, self.halving = candidates, data, halving
        self.journal, self.verbose, self.pre_dispatch = journal, verbose, pre_dispatch
        self.results: dict[Key, dict[str, Any]] = {} if journal is None else dict(journal.done)
        self.report = _read_before(self.results)
        self.n_jobs = n_jobs
        on_gpu = any(isinstance(c.last, MultimodalEstimator) and _is_on_gpu(c.last.device) for c in candidates)
        # of several GPUs an engine gives each worker one
        self.n_processes = 1 if on_gpu and not on_cluster() else joblib.effective_n_jobs(n_jobs)

    @property
    def keys(self) -> list[Key]:
        """Every candidate on every fold."""
        return [(c.name, i) for c in self.candidates for i in range(len(self.data.splits))]

    def all(self) -> list[dict[str, Any]]:
        """A result for each of :attr:`keys`, those of a run that ended early without a score."""
        lacking = failure(replace(self.data, error_score=np.nan), "interrupted")
        return [self.results.get(key) or dict(lacking) for key in self.keys]

    def run(self, tell: Callable[[Mapping[Key, dict[str, Any]]], None]) -> None:
        """Fit and score what is not known yet; ``tell`` is told of what is found, first of what was known.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C, which leaves in ``results`` what was finished.
        """
        tell(self.results)

        def note(found: dict[Key, dict[str, Any]]) -> None:
            self.results.update(found)
            tell(found)

        tasks = self._tasks(self._transformed_folds())
        if self.n_processes == 1:
            for task in tasks:
                task.tell = note
        for outcome in self._outcomes(tasks):
            if self.journal is not None and outcome.unwritten:
                self.journal.add(outcome.unwritten)
            self.report += outcome.report
            if self.n_processes > 1:
                note(outcome.results)
            if outcome.interrupted:
                raise KeyboardInterrupt

    def _lacks(self, candidate: Candidate, number: int) -> bool:
        return (candidate.name, number) not in self.results

    def _transformed_folds(self) -> dict[Any, Folds]:
        """The folds behind each of the candidates' transformers, which are fitted once; none outside a pipeline.

        Those of which all results are known are not asked for, nor those that one task alone reads.
        """
        first = {c.before: c for c in reversed(self.candidates) if c.before is not None and not c.of_folds}
        numbers = range(len(self.data.splits))
        wanted = {(c.before, i) for c in self.candidates for i in numbers if self._lacks(c, i)}
        ordered = [(key, i) for key in first for i in numbers if (key, i) in wanted]
        calls = ((self.data, i, first[key].estimator) for key, i in ordered)
        folds = {key: Folds() for key in first}
        made = call_all(make_fold, calls, n_jobs=self.n_jobs, shared=[self.data])
        for (key, _), fold in zip(ordered, made, strict=True):
            folds[key].append(fold)
        return folds

    def _tasks(self, folds: Mapping[Any, Folds]) -> list[Task]:
        """All of it in parts that keep the processes busy."""
        numbers, n = range(len(self.data.splits)), self.n_processes
        parts: list[tuple[list[Candidate], Iterable[int]]] = [(self.candidates, numbers)]
        if n > 1:
            alike = [c for c in self.candidates if not c.of_folds]
            # of all candidates: what trains together is the same whatever of it is finished
            groups = divide(alike, 1 if self.halving else n) if alike else []
            by_folds = not self.halving and n <= len(numbers) and any(map(_has_experts, alike))
            if by_folds:  # which are then fitted once, in the process that has the fold
                groups = [alike]
            # one candidate, all there is, is divided by its folds too
            each = min(n, len(numbers)) if by_folds or len(self.candidates) == 1 else 1
            parts = [(group, own) for group in groups for own in np.array_split(numbers, each)]
            others = [c for c in self.candidates if c.of_folds]
            parts += [(others, [i]) for i in numbers if others]
        how: dict[str, Any] = {"halving": self.halving, "n_jobs": n, "journal": self.journal}
        tasks = [
            Task(part, self.data, folds, [int(i) for i in chosen], verbose=self.verbose, **how)
            for part, chosen in parts
            if any(self._lacks(c, i) for c in part for i in chosen)
        ]
        # the longest first, so that no process works on alone at the end
        return _longest_first(tasks, self.data, folds) if 1 < n < len(tasks) else tasks

    def _outcomes(self, tasks: list[Task]) -> Iterable[Outcome]:
        """What tasks found, as they end."""
        read = Counter(key for task in tasks for key in task.folds)
        folds = {key: task.folds[key] for task in tasks for key in task.folds}
        return call_all(
            run_task,
            ((task, task.data, *task.folds.values()) for task in tasks),
            n_jobs=self.n_processes,
            shared=[*(task.data for task in tasks[:1]), *(folds[key] for key, n in read.items() if n > 1)],
            in_order=False,  # and one by one, where the engine can: all at the end would be lost to Ctrl-C
            batch_size=1,
            pre_dispatch=self.pre_dispatch,
        )


def _read_before(results: Mapping[Key, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the report about what a journal had."""
    if not results:
        return []
    return [
        {
            "trained": "before",
            "fits": len(results),
            "candidates": sorted({candidate for candidate, _ in results}),
            "folds": sorted({fold for _, fold in results}),
            "epochs": max(result["n_epochs"] for result in results.values()),
            "seconds": sum(result["fit_time"] for result in results.values()),
            "reason": "the journal has them",
        }
    ]


def _longest_first(tasks: list[Task], data: Data, folds: Mapping[Any, Folds]) -> list[Task]:
    """Tasks by the weights of all their networks, of which one of each is built on the first fold."""
    scout = Task([], data, folds, [0])  # which prepares for all of them
    first = {key: of_key[0] for key, of_key in folds.items() if of_key}

    def cost(task: Task) -> int:
        candidate = task.candidates[0]
        if candidate.of_folds or not isinstance(candidate.last, MultimodalEstimator):
            return 0
        if candidate.before not in first:
            first[candidate.before] = make_fold(data, 0, None)
        return len(task.candidates) * scout.n_weights(candidate, first[candidate.before])

    return sorted(tasks, key=cost, reverse=True)


def _has_experts(candidate: Candidate) -> bool:
    """Whether a candidate fits experts, which others on the same fold have in common with it."""
    last = candidate.last
    return isinstance(last, MultimodalEstimator) and last.experts is not None and last._wants_stack()


def _is_on_gpu(device: Any) -> bool:
    """Whether a device is a GPU; one that does not exist fails its own candidates."""
    try:
        return find_device(device).type == "cuda"
    except ValueError:
        return False
