"""Compare the default estimator with what scikit-learn alone gives, with boosting and with published figures.

    python docs/benchmarks/real_data.py --data FOLDER --sets wiki mfeat --log results.jsonl

See README.md beside this file for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scores
import torch
from datasets import SETS, Dataset, add_data_argument, data_folder, image_features, load, takes_all_folds
from records import Records
from report import log, report, summary
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.dummy import DummyRegressor
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
from sklearn.model_selection import GridSearchCV, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from skmm import Blocks, Encoder, Fusion, MultimodalClassifier, MultimodalRegressor, Optimizer
from skmm.blocks import RaggedArray

MODELS = ("default", "baselines", "references")

# -- baselines ------------------------------------------------------------------------------------------------


class BlockFeatures(TransformerMixin, BaseEstimator):
    """One modality of a Blocks as 2-D features.

    Vectors and sparse matrices stay as they are. A sequence becomes the means and deviations of ``n_segments``
    equal stretches of its time, or is flattened if that is None; an image becomes ``image_features``.
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
        if isinstance(block, RaggedArray):
            return _segments_of_ragged(block, self.n_segments)
        segments = np.array_split(block, self.n_segments, axis=1)
        return np.concatenate([f(s, axis=1) for s in segments for f in (np.mean, np.std)], axis=1)


def _segments_of_ragged(block: RaggedArray, n: int) -> np.ndarray:
    """Means and deviations of n equal stretches of each sample; NaN where one has no value that is known.

    Shape: (n_samples, 2 * n * features).
    """
    lengths, cut = block.lengths[:, None], np.arange(n + 1)
    edges = block.offsets[:-1, None] + cut * (lengths // n) + np.minimum(cut, lengths % n)  # (n_samples, n + 1)

    def total(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
        return np.diff(sums[edges], axis=1)  # (n_samples, n, features)

    known = ~np.isnan(block.values)
    values = np.where(known, block.values, 0).astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0
        mean = total(values) / total(known)
        variance = total(values**2) / total(known) - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 0))], axis=2).reshape(len(block), -1)


def _unit_rows(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(x.shape[1])


def _log_proba(p: np.ndarray) -> np.ndarray:
    return np.log(np.clip(p, np.exp(-8), 1))


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, np.exp(-8), 1 - np.exp(-8))
    return np.log(p) - np.log1p(-p)


@lru_cache
def boosters(classify: bool, wide: bool) -> dict[str, BaseEstimator]:
    """LightGBM and CatBoost at their defaults, on one thread; one that is not installed is left out, in a word."""
    options = {
        "LGBM": {"random_state": 0, "n_jobs": 1, "verbose": -1},
        "CatBoost": {"random_seed": 0, "thread_count": 1, "verbose": False, "allow_writing_files": False},
    }
    if wide:  # of hundreds of dense columns, 32 borders of each instead of 254 are six times faster
        options["CatBoost"]["border_count"] = 32
    found = {}
    for module, prefix in (("lightgbm", "LGBM"), ("catboost", "CatBoost")):
        try:
            kind = getattr(importlib.import_module(module), prefix + ("Classifier" if classify else "Regressor"))
        except ImportError:
            print(f"{module} is not installed: the reference ({module}) is left out.", file=sys.stderr)
            continue
        found[module] = kind(**options[prefix])
    return found


class Baselines:
    """What others build for one set; ``models`` holds them by name, references in parentheses."""

    def __init__(self, data: Dataset, X: Blocks, y: np.ndarray, groups: np.ndarray | None) -> None:
        self.data, self.X, self.y, self.groups = data, X, y, groups
        self.has_text = "sparse" in X.kinds.values()
        self.is_wide = set(X.kinds.values()) != {"vector"} or sum(x.shape[1] for _, x in X.items()) > 300
        self.models = self.classification() if data.task == "classification" else self.regression()

    def features(self, names: Iterable[str], svd: int | None = None) -> FeatureUnion:
        """Join modalities, dense ones standardised. TF-IDF keeps its scale, or is reduced by an SVD.

        Beside TF-IDF, whose rows have norm 1, a dense modality's rows are brought to norm 1 as well: hundreds of
        columns of deviation 1 would drown the text.
        """

        def one(name: str) -> Pipeline:
            read = BlockFeatures(name, self.data.n_segments)
            if self.X.kinds[name] == "sparse":
                n_kept = min(svd or 0, self.X[name].shape[1])
                return make_pipeline(read, TruncatedSVD(n_kept, random_state=0) if svd else "passthrough")
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
        for name, model in boosters(True, self.is_wide).items():
            found[f"({name})"] = make_pipeline(everything, model)
        if self.groups is not None:
            by_group = StratifiedGroupKFold(min(5, len(np.unique(self.groups))), shuffle=True, random_state=0)
            found["(stack, folds by group)"] = stack(list(by_group.split(self.y, self.y, self.groups)))
        return found

    def regression(self) -> dict[str, BaseEstimator]:
        singles = [(name, self.linear([name])) for name in self.X]
        everything = self.features(self.X, svd=256)

        def each(model: BaseEstimator) -> BaseEstimator:
            return MultiOutputRegressor(model) if self.y.ndim == 2 else model

        trees = {"boosting": HistGradientBoostingRegressor(random_state=0), **boosters(False, self.is_wide)}
        return {
            "constant": DummyRegressor(),
            **{f"only {name}": model for name, model in singles},
            "concatenation": self.linear(self.X),
            "mean": each(VotingRegressor(singles)),
            "stack": each(StackingRegressor(singles, self.tuned(), cv=KFold(5, shuffle=True, random_state=0))),
            "(forest)": make_pipeline(everything, RandomForestRegressor(500, max_features=1 / 3, random_state=0)),
            **{f"({name})": make_pipeline(everything, each(model)) for name, model in trees.items()},
        }


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
    extra = {k: known for k, known in data.fit_params(i).items() if has_fit_parameter(model, k)}
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # logistic regressions at C = 100
        warnings.filterwarnings("ignore", "X does not have valid feature names")  # LightGBM, of its own names
        start = time.perf_counter()
        model.fit(X_train, y_train, **extra)
        seconds = time.perf_counter() - start
        result = {
            "set": name,
            "split": i,
            "fit_seconds": seconds,
            **scores.evaluate(model, X_test, y_test, data.metrics),
        }
    if hasattr(model, "expert_scores_"):
        result["heads"] = {row["head"]: [row["score"], row["loss"]] for row in model.expert_scores_}
    return result


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


def definition(X_train: Blocks, X_test: Blocks) -> Callable[[BaseEstimator], str]:
    """What a baseline's result depends on, in short: its parameters, the code beside it, and the data."""
    code = [BlockFeatures, _segments_of_ragged, image_features, _unit_rows, _log_proba, _log_odds, scores]
    source = "".join(map(inspect.getsource, code))
    data = joblib.hash([list(part.items()) for part in (X_train, X_test)])

    def of(model: BaseEstimator) -> str:
        text = re.sub(r" at 0x\w+", "", model.__repr__(N_CHAR_MAX=10**9))  # functions show their address
        return hashlib.sha256((text + source + data).encode()).hexdigest()[:12]

    return of


def baseline(label: str, name: str, folder: Path, i: int, threads: int) -> dict[str, Any]:
    return run(lambda *training: Baselines(*training).models[label], name, folder, i, threads)


def network(params: dict[str, Any], seed: int, name: str, folder: Path, i: int, threads: int) -> dict[str, Any]:
    return run(partial(make_network, params, seed), name, folder, i, threads)


@dataclass(frozen=True)
class Task:
    """One fit: where it stands in the log, what it depends on beside, and the function that makes it."""

    set: str
    split: int
    model: str
    seed: int
    kind: str  # "baseline", "reference" or "network"
    definition: str
    fit: Callable[..., dict[str, Any]]

    @property
    def key(self) -> tuple[Any, ...]:
        return self.set, self.split, self.model, self.seed

    def __call__(self, folder: Path, threads: int) -> dict[str, Any]:
        result = self.fit(self.set, folder, self.split, threads)
        log(f"{self.set} split {self.split} seed {self.seed}: {self.model}", result)
        own = {"model": self.model, "seed": self.seed, "kind": self.kind, "definition": self.definition}
        return {**result, **own}


def baseline_tasks(name: str, folder: Path, i: int, kinds: Iterable[str]) -> Iterator[Task]:
    """What is asked for of the baselines and references on one split. They are fitted once: they do not vary."""
    data, X_train, y_train, X_test, _, groups = _split(name, folder, i)
    define = definition(X_train, X_test)
    for label, model in Baselines(data, X_train, y_train, groups).models.items():
        kind = "reference" if label.startswith("(") else "baseline"
        if kind in kinds:
            yield Task(name, i, label, 0, kind, define(model), partial(baseline, label))


def network_tasks(name: str, i: int, variants: dict[str, dict[str, Any]], n_seeds: int) -> Iterator[Task]:
    for label, params in variants.items():
        for seed in range(n_seeds):
            yield Task(name, i, label, seed, "network", json.dumps(params), partial(network, params, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET", help="e.g. wiki houses+zip")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS, help="what to fit (all)")
    parser.add_argument("--estimator", action="append", default=[], metavar="NAME=JSON", help="a further variant")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each network on a fixed split")
    parser.add_argument("--fold-seeds", type=int, default=1, help="seeds of each network on each of several splits")
    parser.add_argument("--all-folds", action="store_true", help="every split of clothing, landuse21 and ccv")
    parser.add_argument("--quick", action="store_true", help="one seed, one split, no references")
    parser.add_argument(
        "--log", type=Path, help="lines of json that keep the results; what they hold is not fitted again"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of each job")
    args = parser.parse_args()
    folder = data_folder(parser, args)
    variants = {"default": {}} if "default" in args.models else {}
    for text in args.estimator:
        label, _, params = text.partition("=")
        variants[label] = json.loads(params)
    kinds = {"baselines": "baseline", "references": "reference"}
    kinds = {kinds[m] for m in args.models if m in kinds} - ({"reference"} if args.quick else set())
    records = Records(args.log, "set", "split", "model", "seed")  # as Task.key
    parallel = joblib.Parallel(n_jobs=args.jobs, return_as="generator_unordered")

    def tasks(data: Dataset) -> Iterator[Any]:
        """Fits that the log lacks, split by split."""
        splits = range(1 if args.quick else len(data.splits))
        n_seeds = 1 if args.quick else args.seeds if len(data.splits) == 1 else args.fold_seeds
        for i in splits:
            if kinds:
                yield from baseline_tasks(data.name, folder, i, kinds)
            yield from network_tasks(data.name, i, variants, n_seeds)

    seen = []
    for name in args.sets:
        data = load(f"{name}+all-folds" if args.all_folds and takes_all_folds(name) else name, folder)
        missing = (t for t in tasks(data) if records.found.get(t.key, {}).get("definition") != t.definition)
        for result in parallel(joblib.delayed(task)(folder, args.threads) for task in missing):
            records.add(result)
        seen.append((data, [r for r in records.rows() if r["set"] == data.name]))
        print(report(*seen[-1]), end="\n\n", flush=True)
    print(summary(seen))


if __name__ == "__main__":
    import real_data  # joblib's workers can import functions of a module, but not those of a script

    real_data.main()
