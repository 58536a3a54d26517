"""Time a search: FusionSearchCV against GridSearchCV, on the same candidates, folds and epochs.

    python docs/benchmarks/speed_search.py --data FOLDER --jobs 2
    python docs/benchmarks/speed_search.py --data FOLDER --quick  # fewer epochs and candidates

Three searches: 24 candidates of one fusion (lr x weight decay x dropout) on three views of handwritten digits;
seven fusions, two optimizers and three learning rates on Wikipedia images and texts; the latter with halving and
without. All are of single networks with 5 folds, and none fits the best candidate again. Both contenders have the
same number of processes, started before the clock.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from datasets import Dataset, add_data_argument, data_folder, load
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV
from speed_fit import machine

from skmm import MultimodalClassifier
from skmm.model_selection import FusionSearchCV

FUSIONS = ["early", "late", "concat", "sum", "attention", "mfb", "mfh"]
GRIDS: dict[str, dict[str, list[Any]]] = {
    "mfeat": {"lr": [0.001, 0.003, 0.01], "weight_decay": [0.01, 0.1], "dropout": [0.1, 0.2, 0.3, 0.5]},
    "wiki": {"fusion": FUSIONS, "optimizer": ["sgd", "adamw"], "lr": [0.001, 0.003, 0.01]},
}
QUICK: dict[str, dict[str, list[Any]]] = {
    "mfeat": {"lr": [0.001, 0.01], "weight_decay": [0.01, 0.1], "dropout": [0.1, 0.3]},
    "wiki": {"fusion": FUSIONS, "optimizer": ["sgd", "adamw"], "lr": [0.003]},
}
CONTENDERS = {"mfeat": ("stacked", "grid"), "wiki": ("stacked", "grid"), "halving": ("halved", "stacked")}
GOALS = {"mfeat": 4.0, "wiki": 3.0, "halving": 2.0}


def start_workers(n_jobs: int) -> None:
    """Have each process import everything."""
    Parallel(n_jobs)(delayed(time.sleep)(0.5) for _ in range(n_jobs))
    X, y = {"a": np.random.randn(40, 3)}, np.arange(40) % 2
    quick = MultimodalClassifier(n_members=1, max_epochs=1)
    FusionSearchCV(quick, {"fusion": ["sum", "concat"], "lr": [0.1, 0.2]}, cv=2, n_jobs=n_jobs).fit(X, y)


def search(
    name: str, data: Dataset, grid: dict[str, list[Any]], epochs: int | str, n_jobs: int, device: str = "cpu"
) -> Any:
    """A search of one kind, fitted, with the seconds that it took."""
    clf = MultimodalClassifier(n_members=1, max_epochs=epochs, device=device, random_state=0)
    options = {"cv": 5, "n_jobs": n_jobs, "refit": False}
    if name == "grid":
        fitted: Any = GridSearchCV(clf, grid, **options)
    else:
        fitted = FusionSearchCV(clf, grid, halving=name == "halved", **options)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a candidate that diverges is one that loses
        fitted.fit(data.X, data.y)
    fitted.seconds = time.perf_counter() - start
    return fitted


def winner(fitted: Any) -> tuple[str, float, float]:
    """The best parameters, their mean score and its deviation over the folds."""
    found, best = fitted.cv_results_, fitted.best_index_
    label = ", ".join(f"{key} {value}" for key, value in fitted.best_params_.items())
    return label, found["mean_test_score"][best], found["std_test_score"][best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--work", nargs="*", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="fewer epochs and candidates")
    args = parser.parse_args()
    folder = data_folder(parser, args)
    start_workers(args.jobs)
    print(machine())
    print("\n| work | fits | seconds | against | seconds | times faster | goal | winner | of the other |")
    print("|---|---|---|---|---|---|---|---|---|")
    for work in args.work:
        source = "mfeat" if work == "mfeat" else "wiki"
        data, grid = load(source, folder), (QUICK if args.quick else GRIDS)[source]
        names = CONTENDERS[work]
        ratios = []
        for r in range(args.rounds):
            order = names if r % 2 == 0 else names[::-1]
            fitted = {name: search(name, data, grid, 4 if args.quick else "auto", args.jobs) for name in order}
            ours, other = (fitted[name] for name in names)
            ratios.append(other.seconds / ours.seconds)
        n = 5 * len(ours.cv_results_["params"])
        winners = ["{} ({:.3f} ± {:.3f})".format(*winner(s)) for s in (ours, other)]
        print(
            f"| {work} | {n} | {ours.seconds:.1f} | {names[1]} | {other.seconds:.1f} | {np.median(ratios):.2f} "
            f"| {GOALS[work]:g} | {' | '.join(winners)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
