"""Do conformal sets and intervals hold the truth as often as asked for, and how large are they beside a baseline's?

    python docs/benchmarks/conformal.py --data FOLDER --output docs/benchmarks/conformal.md

One fit of each model and set, on the first split. The test part is then divided at random, ``--divisions`` times,
into one half that calibrates and one that is looked at, which tells the mean coverage and its standard error. In
"out of fold" the training part calibrates, and all of the test part is looked at, of some sets on all splits.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, add_data_argument, data_folder, load
from real_data import Baselines
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from skmm import MultimodalClassifier, MultimodalRegressor
from skmm.inspection import conformal, risk_coverage_curve, uncertainty

SETS = ("mfeat", "wiki", "flipkart", "utd_mhad", "houses", "babies")
ALL_SPLITS = ("mfeat", "flipkart", "houses")  # sets whose other folds are fitted too, for "out of fold"
BASELINES = ("concatenation", "stack", "(boosting)")
Row = list[str]


class Said(ClassifierMixin, BaseEstimator):
    """A model whose answers to the test part are kept: X are the numbers of its rows."""

    def __init__(self, proba: np.ndarray, classes: np.ndarray) -> None:
        self.proba, self.classes_ = proba, classes

    def fit(self, X: Any, y: Any) -> Said:
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.proba[X]


class SaidValues(RegressorMixin, BaseEstimator):
    """The same of values."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.fitted_ = values, True

    def fit(self, X: Any, y: Any) -> SaidValues:
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.values[X]


def fitted(model: Any, data: Dataset, i: int, X: Any, y: np.ndarray) -> tuple[Any, float]:
    """A model of the training part of split ``i``, and the seconds that its fit took."""
    extra = {k: known for k, known in data.fit_params(i).items() if has_fit_parameter(model, k)}
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # logistic regressions at C = 100
        model.fit(X, y, **extra)
    return model, time.process_time() - start


def kept(model: Any, X: Any) -> Any:
    if is_classifier(model):
        return Said(np.asarray(model.predict_proba(X), dtype=np.float64), model.classes_)
    return SaidValues(np.asarray(model.predict(X)))


def looked_at(made: Any, X: Any, y: np.ndarray) -> tuple[float, float]:
    """Coverage of samples, and the mean number of classes, or the mean width of the intervals."""
    if is_classifier(made):
        sets = made.predict_set(X)
        return sets[np.arange(len(y)), np.searchsorted(made.classes_, y)].mean(), sets.sum(axis=1).mean()
    low, high = made.predict_interval(X).T
    return ((low <= y) & (y <= high)).mean(), (high - low).mean()


def divided(said: Any, y: np.ndarray, alpha: float, n_divisions: int, **params: Any) -> np.ndarray:
    """Coverage and size by each division of the test part: (n_divisions, 2)."""
    found = []
    for seed in range(n_divisions):
        rows = np.random.RandomState(seed).permutation(len(y))
        calibrate, look = rows[: len(y) // 2], rows[len(y) // 2 :]
        if "method" in params:
            params["random_state"] = seed
        made = conformal(said, calibrate, y[calibrate], alpha=alpha, **params)
        found.append(looked_at(made, look, y[look]))
    return np.array(found)


def mean_and_error(x: np.ndarray) -> str:
    return f"{x.mean():.4f} ± {x.std(ddof=1) / math.sqrt(len(x)):.4f}"


def expected(n: int, alpha: float) -> float:
    """Mean coverage by n calibration samples without ties."""
    return math.ceil(round((n + 1) * (1 - alpha), 9)) / (n + 1)


def measure(data: Dataset, args: argparse.Namespace) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows of the three tables: sets and intervals of each model, out of fold, and abstention."""
    X, y, new, truth, groups = data.split(0)
    classify = data.task == "classification"
    cls = MultimodalClassifier if classify else MultimodalRegressor
    models = {"default": cls(random_state=0, device="cpu")}
    baselines = Baselines(data, X, y, groups).models
    models |= {name: baselines[name] for name in BASELINES}
    sets: list[Row] = []
    for name, model in models.items():
        model, seconds = fitted(model, data, 0, X, y)
        said = kept(model, new)
        kinds: dict[str, dict[str, Any]] = {"lac": {}, "aps": {"method": "aps"}}
        if not classify:
            kinds = {"residual": {}}
            for who in ("members", "heads") if name == "default" else ():
                spread = uncertainty(model, new, kind=who) + 0.01 * y.std()
                kinds[f"over the spread of {who}"] = {"spread": lambda rows, spread=spread: spread[rows]}
        for kind, params in kinds.items():
            found = divided(said, truth, args.alpha, args.divisions, **params)
            print(data.name, name, kind, found.mean(axis=0).round(4), f"{seconds:.0f} s", flush=True)
            sets.append(
                [
                    data.name,
                    name,
                    kind,
                    str(len(truth) // 2),
                    f"{expected(len(truth) // 2, args.alpha):.4f}",
                    mean_and_error(found[:, 0]),
                    f"{found[:, 1].mean():.3f}",
                ]
            )
        if name == "default":
            own = out_of_fold(data, model, args.alpha)
            unsure = abstention(data.name, model, new, truth)
    return sets, [own], [unsure]


def out_of_fold(data: Dataset, model: Any, alpha: float) -> Row:
    """Coverage without a calibration set: of the first split, of which ``model`` is, or of all."""
    n_splits = len(data.splits) if data.name in ALL_SPLITS else 1
    found, weights = [], []
    for i in range(n_splits):
        X, y, new, truth, _ = data.split(i)
        if i:
            model, _ = fitted(clone(model), data, i, X, y)
        made = conformal(model, y_cal=y, alpha=alpha)
        found.append((model.oof_score_, model.score(new, truth), *looked_at(made, new, truth)))
        weights.append(len(truth))
    before, score, coverage, size = np.average(found, axis=0, weights=weights)
    error = math.sqrt(alpha * (1 - alpha) * (1 / made.n_calibration_ + 1 / sum(weights)))
    numbers = [str(n_splits), str(made.n_calibration_), str(sum(weights)), f"{before:.3f} / {score:.3f}"]
    return [data.name, *numbers, f"{coverage:.3f} ± {error:.3f}", f"{size:.3f}"]


def abstention(name: str, model: Any, new: Any, truth: np.ndarray) -> Row:
    """Areas under the curves of risk and coverage."""
    if is_classifier(model):
        kinds, loss = ("probability", "entropy", "members", "variation", "heads"), model.predict(new) != truth
    else:
        kinds, loss = ("members", "heads"), np.abs(model.predict(new) - truth)
    curves = {kind: risk_coverage_curve(loss, uncertainty(model, new, kind=kind)) for kind in kinds}
    first = curves[kinds[0]]
    every = ("probability", "entropy", "members", "variation", "heads")
    cells = [f"{curves[kind].area:.4f}" if kind in curves else "" for kind in every]
    return [name, f"{first.random_area:.4f}", f"{first.oracle_area:.4f}", *cells]


def table(header: Row, rows: list[Row]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--divisions", type=int, default=300)
    parser.add_argument("--output", type=Path, help="file that gets the tables, as Markdown")
    args = parser.parse_args()
    folder = data_folder(parser, args)
    torch.set_num_threads(1)
    start = time.process_time()
    tables: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    with threadpool_limits(1):
        for name in args.sets:
            for whole, own in zip(tables, measure(load(name, folder), args), strict=True):
                whole += own
    sets, own, unsure = tables
    header = ["set", "model", "score", "calibrate", "expected", "coverage", "mean size or width"]
    text = PAGE.format(
        alpha=args.alpha,
        target=1 - args.alpha,
        divisions=args.divisions,
        seconds=time.process_time() - start,
        sets=table(header, sets),
        own=table(["set", "splits", "calibrate", "looked at", "score", "coverage", "mean size or width"], own),
        unsure=table(
            ["set", "random", "oracle", "probability", "entropy", "members", "variation", "heads"], unsure
        ),
    )
    print(text)
    if args.output:
        args.output.write_text(text)


PAGE = """# Conformal sets and abstention, measured

Written by `conformal.py` beside this file: {divisions} random divisions of each test part, alpha = {alpha},
{seconds:.0f} seconds of CPU on one thread. One fit of each model, on the first split of a set.

## A calibration set

Half of the test part calibrates, the other half is looked at. "expected" is ceil((n + 1)(1 - alpha)) / (n + 1), the
mean coverage where no two scores are equal; coverage is the mean over the divisions ± its standard error. Size:
classes in a set; width: of the interval, in units of y (`houses`: the logarithm of the price). The smaller, the
better.

{sets}

## Out of fold

The default estimator, calibrated by its `oof_prediction_` ("lac", or residuals), all of the test part looked at, of
several splits the mean. The error is that of the coverage by so many calibration samples of one split and so many
test samples, if both were alike; the aim is {target:g}. Score: accuracy or R2 out of fold, and of the test part;
where the second is lower, the test part is harder than what calibrates. On `utd_mhad` it is of people that training
did not see.

{own}

## Abstention

Areas under the curves of risk (error rate, of values absolute error) and coverage by kind of uncertainty, on the
whole test part. The smaller, the better; "random" answers in any order, "oracle" knows the errors.

{unsure}
"""


if __name__ == "__main__":
    main()
