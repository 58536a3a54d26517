"""Time a search: FusionSearchCV against GridSearchCV, on the same candidates, folds and epochs.

    python docs/benchmarks/speed_search.py --data FOLDER --jobs 2
    python docs/benchmarks/speed_search.py --data FOLDER --quick  # fewer epochs and candidates
    python docs/benchmarks/speed_search.py --data FOLDER --work compare --jobs 1 --rows 400

Three searches: 24 candidates of one fusion (lr x weight decay x dropout) on three views of handwritten digits;
seven fusions, two optimizers and three learning rates on Wikipedia images and texts; the latter with halving and
without. All are of single networks with 5 folds, and none fits the best candidate again. And a comparison of seven
fusions, ``"few"``, of default estimators with 5 folds and without baselines, against scikit-learn's
``cross_validate`` of each. Both contenders have the same number of processes, started before the clock.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, add_data_argument, data_folder, load
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from speed_fit import machine

from skmm import MultimodalClassifier
from skmm.model_selection import FusionSearchCV, compare_fusions
from skmm.model_selection._compare import FEW

FUSIONS = ["early", "late", "concat", "sum", "attention", "mfb", "mfh"]
GRIDS: dict[str, dict[str, list[Any]]] = {
    "mfeat": {"lr": [0.001, 0.003, 0.01], "weight_decay": [0.01, 0.1], "dropout": [0.1, 0.2, 0.3, 0.5]},
    "wiki": {"fusion": FUSIONS, "optimizer": ["sgd", "adamw"], "lr": [0.001, 0.003, 0.01]},
}
QUICK: dict[str, dict[str, list[Any]]] = {
    "mfeat": {"lr": [0.001, 0.01], "weight_decay": [0.01, 0.1], "dropout": [0.1, 0.3]},
    "wiki": {"fusion": FUSIONS, "optimizer": ["sgd", "adamw"], "lr": [0.003]},
}
CONTENDERS = {
    "mfeat": ("stacked", "grid"),
    "wiki": ("stacked", "grid"),
    "halving": ("halved", "stacked"),
    "compare": ("compare_fusions", "cross_validate"),
}
GOALS = {"mfeat": 4.0, "wiki": 3.0, "halving": 2.0, "compare": 3.0}


class Comparison:
    """Scores of the fusions, found by one contender, and the seconds that it took."""

    def __init__(self, name: str, X: Any, y: np.ndarray, epochs: int | str, n_jobs: int) -> None:
        clf = MultimodalClassifier(max_epochs=epochs, device="cpu", random_state=0)
        folds: dict[str, Any] = {"cv": StratifiedKFold(5), "n_jobs": n_jobs, "scoring": "accuracy"}
        start = time.perf_counter()
        if name == "compare_fusions":
            found = compare_fusions(X, y, estimator=clf, fusions="few", baselines=False, **folds)
            self.scores = {fusion: scores["accuracy"] for fusion, scores in found.scores.items()}
        else:
            models = {fusion: clone(clf).set_params(fusion=fusion) for fusion in FEW}
            self.scores = {fusion: cross_validate(m, X, y, **folds)["test_score"] for fusion, m in models.items()}
        self.seconds = time.perf_counter() - start

    @property
    def n_fits(self) -> int:
        return sum(map(len, self.scores.values()))

    def winner(self) -> tuple[str, float, float]:
        """The best fusion, its mean score and its deviation over the folds."""
        best = max(self.scores, key=lambda fusion: self.scores[fusion].mean())
        return best, self.scores[best].mean(), self.scores[best].std()


def start_workers(n_jobs: int) -> None:
    """Have each process import everything."""
    Parallel(n_jobs)(delayed(time.sleep)(0.5) for _ in range(n_jobs))
    X, y = {"a": np.random.randn(40, 3)}, np.arange(40) % 2
    quick = MultimodalClassifier(n_members=1, max_epochs=1)
    FusionSearchCV(quick, {"fusion": ["sum", "concat"], "lr": [0.1, 0.2]}, cv=2, n_jobs=n_jobs).fit(X, y)


class Search:
    """A search of one kind, and the seconds that it took."""

    def __init__(
        self,
        name: str,
        data: Dataset,
        grid: dict[str, list[Any]],
        epochs: int | str,
        n_jobs: int,
        device: str = "cpu",
    ) -> None:
        clf = MultimodalClassifier(n_members=1, max_epochs=epochs, device=device, random_state=0)
        options = {"cv": 5, "n_jobs": n_jobs, "refit": False}
        self.fitted: Any = GridSearchCV(clf, grid, **options)
        if name != "grid":
            self.fitted = FusionSearchCV(clf, grid, halving=name == "halved", **options)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a candidate that diverges is one that loses
            self.fitted.fit(data.X, data.y)
        self.seconds = time.perf_counter() - start

    @property
    def n_fits(self) -> int:
        return 5 * len(self.fitted.cv_results_["params"])

    def winner(self) -> tuple[str, float, float]:
        """The best parameters, their mean score and its deviation over the folds."""
        found, best = self.fitted.cv_results_, self.fitted.best_index_
        label = ", ".join(f"{key} {value}" for key, value in self.fitted.best_params_.items())
        return label, found["mean_test_score"][best], found["std_test_score"][best]


def contend(work: str, folder: Path, args: argparse.Namespace) -> list[Callable[[], Any]]:
    """What each of the two contenders of a piece of work does."""
    data = load("mfeat" if work in ("mfeat", "compare") else "wiki", folder)
    epochs: int | str = 4 if args.quick else "auto"
    if work == "compare":
        rows = np.sort(np.random.default_rng(0).permutation(len(data.y))[: args.rows])
        X, y = data.X[rows], data.y[rows]
        return [partial(Comparison, name, X, y, epochs, args.jobs) for name in CONTENDERS[work]]
    grid = (QUICK if args.quick else GRIDS)["mfeat" if work == "mfeat" else "wiki"]
    return [partial(Search, name, data, grid, epochs, args.jobs) for name in CONTENDERS[work]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--work", nargs="*", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=None, help="of the comparison, drawn at random (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer epochs and candidates")
    args = parser.parse_args()
    folder = data_folder(parser, args)
    start_workers(args.jobs)
    print(machine())
    print("\n| work | fits | seconds | against | seconds | times faster | goal | winner | of the other |")
    print("|---|---|---|---|---|---|---|---|---|")
    for work in args.work:
        contenders = contend(work, folder, args)
        ratios = []
        for r in range(args.rounds):
            order = [0, 1] if r % 2 == 0 else [1, 0]
            done = {i: contenders[i]() for i in order}
            ratios.append(done[1].seconds / done[0].seconds)
        winners = ["{} ({:.3f} ± {:.3f})".format(*done[i].winner()) for i in (0, 1)]
        print(
            f"| {work} | {done[0].n_fits} | {done[0].seconds:.1f} | {CONTENDERS[work][1]} | {done[1].seconds:.1f} "
            f"| {np.median(ratios):.2f} | {GOALS[work]:g} | {' | '.join(winners)} |",
            flush=True,
        )
        if work == "compare":
            print("accuracy of each fusion, and of the other contender:", *_each(done[0], done[1]), file=sys.stderr)


def _each(ours: Comparison, other: Comparison) -> list[str]:
    means = [(name, scores.mean(), other.scores[name].mean()) for name, scores in ours.scores.items()]
    return [f"{name} {a:.3f} {b:.3f};" for name, a, b in means]


if __name__ == "__main__":
    main()
