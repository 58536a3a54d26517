"""Compare the default estimator with what scikit-learn alone gives, on real sets.

    python docs/benchmarks/real_data.py --data FOLDER --sets wiki mfeat --jobs 2 --out results.json

See README.md beside this file for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
import json
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy.stats
import torch
from datasets import REGRESSION, SETS, Dataset, add_data_argument, data_folder, image_features, load
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from skmm import Blocks, Encoder, Fusion, MultimodalClassifier, MultimodalRegressor, Optimizer

# -- baselines ------------------------------------------------------------------------------------------------


class BlockFeatures(TransformerMixin, BaseEstimator):
    """One modality of a Blocks as 2-D features.

    Vectors and sparse matrices stay as they are. A sequence becomes the means and deviations of ``n_segments``
    equal stretches of time, or is flattened if that is None; an image becomes ``image_features``.
    """

    def __init__(self, name: str, n_segments: int | None) -> None:
        self.name = name
        self.n_segments = n_segments

    def fit(self, X: Blocks, y: Any = None) -> BlockFeatures:
        self.kind_ = X.kinds[self.name]
        return self

    def transform(self, X: Blocks) -> Any:
        block = X[self.name]
        if self.kind_ == "image":
            return image_features(block)
        if self.kind_ != "sequence":
            return block
        if self.n_segments is None:
            return block.reshape(len(block), -1)
        segments = np.array_split(block, self.n_segments, axis=1)
        return np.concatenate([f(s, axis=1) for s in segments for f in (np.mean, np.std)], axis=1)


def _unit_rows(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(x.shape[1])


def _log_proba(p: np.ndarray) -> np.ndarray:
    return np.log(np.clip(p, np.exp(-8), 1))


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, np.exp(-8), 1 - np.exp(-8))
    return np.log(p) - np.log1p(-p)


class Baselines:
    """What scikit-learn alone builds for one set; ``classification`` and ``regression`` name its models."""

    def __init__(self, data: Dataset, X: Blocks, y: np.ndarray, groups: np.ndarray | None) -> None:
        self.data, self.X, self.y, self.groups = data, X, y, groups
        self.has_text = "sparse" in X.kinds.values()
        self.models = self.classification() if data.task == "classification" else self.regression()

    def features(self, names: Iterable[str], svd: int | None = None) -> FeatureUnion:
        """Join modalities, dense ones standardised. TF-IDF keeps its scale, or is reduced by an SVD.

        Beside TF-IDF, whose rows have norm 1, a dense modality's rows are brought to norm 1 as well: hundreds of
        columns of deviation 1 would drown the text.
        """

        def one(name: str) -> Pipeline:
            read = BlockFeatures(name, self.data.n_segments)
            if self.X.kinds[name] == "sparse":
                return make_pipeline(read, TruncatedSVD(svd, random_state=0) if svd else "passthrough")
            share = FunctionTransformer(_unit_rows) if self.has_text else "passthrough"
            return make_pipeline(read, SimpleImputer(), StandardScaler(), share)

        return FeatureUnion([(name, one(name)) for name in names])

    def linear(self, names: Iterable[str]) -> Pipeline:
        return make_pipeline(self.features(names), self.tuned())

    def tuned(self, scoring: str = "neg_log_loss") -> BaseEstimator:
        """A linear model that chooses its own penalty."""
        if self.data.task == "regression":
            return RidgeCV(np.logspace(-2, 5, 8))
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
        return GridSearchCV(
            LogisticRegression(max_iter=1000), {"C": np.logspace(-3, 2, 6)}, cv=folds, scoring=scoring
        )

    def classification(self) -> dict[str, BaseEstimator]:
        singles = [(name, self.linear([name])) for name in self.X]
        # of two classes StackingClassifier keeps one column, which needs both ends of its scale
        spread = FunctionTransformer(_log_odds if len(np.unique(self.y)) == 2 else _log_proba)
        everything = self.features(self.X, svd=256)

        def stack(cv: Any, scoring: str = "neg_log_loss") -> StackingClassifier:
            final = make_pipeline(spread, self.tuned(scoring))
            return StackingClassifier(singles, final, cv=cv, stack_method="predict_proba")

        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        found = {
            **{f"only {name}": model for name, model in singles},
            "concatenation": self.linear(self.X),
            "mean": VotingClassifier(singles, voting="soft"),
            "stack": stack(folds),
            "stack, C by accuracy": stack(folds, "accuracy"),
            "(boosting)": make_pipeline(everything, HistGradientBoostingClassifier(random_state=0)),
            "(forest)": make_pipeline(everything, RandomForestClassifier(500, random_state=0)),
        }
        if self.groups is not None:
            by_group = StratifiedGroupKFold(min(5, len(np.unique(self.groups))), shuffle=True, random_state=0)
            found["(stack, folds by group)"] = stack(list(by_group.split(self.y, self.y, self.groups)))
        return found

    def regression(self) -> dict[str, BaseEstimator]:
        singles = [(name, self.linear([name])) for name in self.X]
        everything = self.features(self.X, svd=256)
        return {
            **{f"only {name}": model for name, model in singles},
            "concatenation": self.linear(self.X),
            "mean": VotingRegressor(singles),
            "stack": StackingRegressor(singles, self.tuned(), cv=KFold(5, shuffle=True, random_state=0)),
            "(boosting)": make_pipeline(everything, HistGradientBoostingRegressor(random_state=0)),
            "(forest)": make_pipeline(everything, RandomForestRegressor(500, max_features=1 / 3, random_state=0)),
        }


# -- scores ---------------------------------------------------------------------------------------------------


def calibration_error(proba: np.ndarray, hit: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error over equal-width bins of the largest probability."""
    confidence = proba.max(axis=1)
    which = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(which, weights=hit - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(hit))


def evaluate(model: Any, X: Blocks, y: np.ndarray, metrics: Iterable[str]) -> dict[str, Any]:
    """Scores of a fitted model, and in ``rows`` what the scores are means of, per test row."""
    if not is_classifier(model):
        error = np.asarray(model.predict(X)) - y
        r2 = 1 - np.mean(error**2) / np.var(y)
        return {"r2": float(r2), "rmse": float(np.sqrt(np.mean(error**2))), "rows": {}}
    proba = np.asarray(model.predict_proba(X), dtype=np.float64)
    hit = model.classes_[proba.argmax(axis=1)] == y
    own = proba[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    loss = -np.log(np.clip(own, np.finfo(np.float64).eps, 1))
    found = {
        "accuracy": float(hit.mean()),
        "log_loss": float(loss.mean()),
        "ece": calibration_error(proba, hit),
        "rows": {"accuracy": hit.astype(int).tolist(), "log_loss": loss.round(5).tolist()},
    }
    if "auroc" in metrics:
        found["auroc"] = float(roc_auc_score(y, proba[:, 1]))
    return found


# -- runs -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _split(name: str, folder: Path, i: int) -> Any:
    data = load(name, folder)
    return data, *data.split(i)


def run(make: Callable[..., Any], name: str, folder: Path, i: int, threads: int) -> dict[str, Any]:
    """Fit and score one model on split ``i`` of a set."""
    torch.set_num_threads(threads)
    data, X_train, y_train, X_test, y_test, groups = _split(name, folder, i)
    model = make(data, X_train, y_train, groups)
    extra = {"groups": groups} if groups is not None and has_fit_parameter(model, "groups") else {}
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # logistic regressions at C = 100
        start = time.perf_counter()
        model.fit(X_train, y_train, **extra)
        seconds = time.perf_counter() - start
        return {"set": name, "split": i, "fit_seconds": seconds, **evaluate(model, X_test, y_test, data.metrics)}


def make_network(params: dict[str, Any], seed: int, data: Dataset, *training: Any) -> BaseEstimator:
    kind = MultimodalClassifier if data.task == "classification" else MultimodalRegressor
    return kind(**{"random_state": seed, **read_specs(params)})


def read_specs(params: dict[str, Any]) -> dict[str, Any]:
    """Turn ``{"fusion": {"name": "mfb", "factor": 5}}`` into ``{"fusion": Fusion("mfb", factor=5)}``."""
    spec = {"fusion": Fusion, "encoders": Encoder, "optimizer": Optimizer}

    def read(key: str, value: Any) -> Any:
        if key not in spec or not isinstance(value, dict):
            return value
        if "name" in value:
            return spec[key](value["name"], **{k: v for k, v in value.items() if k != "name"})
        return {modality: read(key, v) for modality, v in value.items()}

    return {key: read(key, value) for key, value in params.items()}


def cached_baselines(
    name: str, folder: Path, i: int, threads: int, cache: dict[str, Any], quick: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Every baseline on one split; those found in the cache are not fitted again."""
    data, X_train, y_train, X_test, _, groups = _split(name, folder, i)
    digest = joblib.hash([list(part.items()) for part in (X_train, X_test)])
    code = [BlockFeatures, image_features, _unit_rows, _log_proba, _log_odds, evaluate, calibration_error]
    source = "".join(map(inspect.getsource, code))
    found = []
    for which, model in Baselines(data, X_train, y_train, groups).models.items():
        if quick and which.startswith("("):
            continue
        text = re.sub(r" at 0x\w+", "", model.__repr__(N_CHAR_MAX=10**9))  # functions show their address
        definition = hashlib.sha256((text + source).encode()).hexdigest()[:12]
        key = f"{name}/{i}/{which}/{digest}/{definition}"
        if key not in cache:
            result = run(lambda *_, model=model: model, name, folder, i, threads)
            cache[key] = {**result, "model": which, "kind": "baseline", "seed": 0}
            log(f"{name} split {i}: {which}", result)
        found.append((key, cache[key]))
    return found


def network(
    label: str, params: dict[str, Any], seed: int, name: str, folder: Path, i: int, threads: int
) -> dict[str, Any]:
    result = run(partial(make_network, params, seed), name, folder, i, threads)
    log(f"{name} split {i} seed {seed}: {label}", result)
    return {**result, "model": label, "kind": "network", "seed": seed}


def log(text: str, result: dict[str, Any]) -> None:
    scores = ", ".join(f"{k} {v:.4f}" for k, v in result.items() if isinstance(v, float) and k != "fit_seconds")
    print(f"{text}: {scores} ({result['fit_seconds']:.1f} s)", file=sys.stderr, flush=True)


# -- report ---------------------------------------------------------------------------------------------------

BETTER = {"accuracy": 1, "auroc": 1, "r2": 1, "log_loss": -1, "ece": -1, "rmse": -1}


def paired_difference(ours: list[dict], theirs: list[dict], metric: str, test_share: float) -> tuple[float, ...]:
    """Mean difference and its 95 % interval.

    On a fixed split: percentiles over 5,000 bootstraps of seeds and test rows. Over folds: Student's t on the
    folds' differences, its variance corrected for the folds' shared training rows (Nadeau and Bengio, 2003).
    """
    folds = sorted({r["split"] for r in ours})
    if len(folds) > 1:
        per_fold = [
            np.mean([r[metric] for r in ours if r["split"] == k])
            - next(r[metric] for r in theirs if r["split"] == k)
            for k in folds
        ]
        scale = np.sqrt(np.var(per_fold, ddof=1) * (1 / len(folds) + test_share))
        half = scale * scipy.stats.t.ppf(0.975, len(folds) - 1)
        return float(np.mean(per_fold)), float(np.mean(per_fold) - half), float(np.mean(per_fold) + half)
    per_row = np.array([r["rows"][metric] for r in ours]) - np.array(theirs[0]["rows"][metric])  # (seeds, rows)
    seeds, rows = per_row.shape
    rng = np.random.default_rng(0)
    means = [
        per_row[rng.integers(seeds, size=seeds)].mean(axis=0)[rng.integers(rows, size=rows)].mean()
        for _ in range(5000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(per_row.mean()), float(low), float(high)


def report(data: Dataset, results: list[dict[str, Any]]) -> str:
    """Markdown: one table of scores, one of differences to the best baseline."""
    models: dict[str, list[dict[str, Any]]] = {}
    for r in results:
        models.setdefault(r["model"], []).append(r)
    kind = {label: rs[0]["kind"] for label, rs in models.items()}
    columns = [*data.metrics, "fit_seconds"]
    lines = [f"### {data.name}", "", f"| model | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label, rs in models.items():
        cells = []
        for column in columns:
            values = [r[column] for r in rs]
            digits = 1 if column == "fit_seconds" else 3
            spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.{digits}f}{spread}")
        label = f"**{label}**" if kind[label] == "network" else label
        lines.append(f"| {label} | {' | '.join(cells)} |")

    networks = [label for label in models if kind[label] == "network"]
    rivals = [label for label in models if kind[label] == "baseline" and not label.startswith("(")]
    # errors of a single fold do not average to an R2, so one fold has no interval for it
    paired = ("accuracy", "log_loss") if data.task == "classification" else REGRESSION
    if networks and rivals and (data.task == "classification" or len({r["split"] for r in results}) > 1):
        lines += [
            "",
            "| estimator | metric | best baseline | difference | 95 % interval |",
            "|---|---|---|---|---|",
        ]
        train, test = data.splits[0]
        for label, metric in itertools.product(networks, paired):
            best = max(rivals, key=lambda b: BETTER[metric] * np.mean([r[metric] for r in models[b]]))
            mean, low, high = paired_difference(models[label], models[best], metric, len(test) / len(train))
            lines.append(f"| {label} | {metric} | {best} | {mean:+.3f} | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET", help="e.g. wiki houses+zip")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds of each network")
    parser.add_argument("--estimator", action="append", default=[], metavar="NAME=JSON", help="a further variant")
    parser.add_argument("--no-default", action="store_true", help="leave out the default estimator")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--all-folds", action="store_true", help="clothing on five folds instead of one")
    parser.add_argument("--quick", action="store_true", help="one seed, one split, no reference models")
    parser.add_argument("--cache", type=Path, help="json that keeps the results of the baselines")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of each job")
    parser.add_argument("--out", type=Path, help="json of all raw results")
    args = parser.parse_args()
    folder = data_folder(parser, args)
    variants = {} if args.no_default else {"default": {}}
    for text in args.estimator:
        label, _, params = text.partition("=")
        variants[label] = json.loads(params)
    cache = json.loads(args.cache.read_text()) if args.cache and args.cache.exists() else {}
    parallel = joblib.Parallel(n_jobs=args.jobs)

    everything = []
    for name in args.sets:
        data = load(f"{name}+all-folds" if args.all_folds and name == "clothing" else name, folder)
        name = data.name
        splits = range(1 if args.quick else len(data.splits))
        results: list[dict[str, Any]] = []
        if not args.no_baselines:
            for pairs in parallel(
                joblib.delayed(cached_baselines)(name, folder, i, args.threads, cache, args.quick) for i in splits
            ):
                cache.update(pairs)
                results += [result for _, result in pairs]
            if args.cache:
                args.cache.write_text(json.dumps(cache))
        results += parallel(
            joblib.delayed(network)(label, params, seed, name, folder, i, args.threads)
            for label, params in variants.items()
            for i in splits
            for seed in range(1 if args.quick else args.seeds)
        )
        everything += results
        print(report(data, results), end="\n\n", flush=True)
    if args.out:
        args.out.write_text(json.dumps({"args": {k: str(v) for k, v in vars(args).items()}, "results": everything}))


if __name__ == "__main__":
    import real_data  # joblib's workers can import functions of a module, but not those of a script

    real_data.main()
