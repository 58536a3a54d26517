"""Measure ingredients of the default estimator, one at a time, on the training parts of the real sets.

    python docs/benchmarks/choose_defaults.py --data FOLDER --log defaults.jsonl

The test part of a set (of a cross-validated set, that of its first fold) is never read. Its training part is split
again, ``--repeats`` times, into 75 % to fit and 25 % to score: the latest rows where the set has a time (every time
the same), by group where it has groups, else stratified. Every variant differs from the base, the estimator's
defaults, in what its name says. Results are appended to the log as they come, so that a run that was stopped goes
on where it was; the table at the end is of all in the log. Two sets of 50,000 generated samples run if they are
asked for: ``generated+regression`` and ``generated+classification``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import SETS, Dataset, add_data_argument, data_folder, load
from joblib import Parallel, delayed
from real_data import Baselines
from records import Records
from size import TASKS, make
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.validation import has_fit_parameter
from skorch.callbacks import Callback
from torch import nn

from skmm import Blocks, Encoder, Fusion, MultimodalClassifier, MultimodalRegressor, register_encoder
from skmm.augmentation import Mixup
from skmm.blocks import BlockInfo
from skmm.layers import DenseBlock, make_activation, make_linear
from skmm.spec import INHERIT


class WeightAverage(Callback):
    """Exponential moving average of the weights, taken over at the end (Polyak and Juditsky 1992)."""

    def __init__(self, decay: float = 0.99) -> None:
        self.decay = decay

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.mean_ = [p.detach().clone() for p in net.module_.parameters()]

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            torch._foreach_lerp_(self.mean_, [p.detach() for p in net.module_.parameters()], 1 - self.decay)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        for p, mean in zip(net.module_.parameters(), self.mean_, strict=True):
            p.data.copy_(mean)


class Smoothed(MultimodalClassifier):
    """Cross-entropy with label smoothing of 0.1 (Szegedy et al. 2016)."""

    def _first_target(self, y: Any, classes: np.ndarray | None) -> tuple[Any, np.ndarray]:
        target, encoded = super()._first_target(y, classes)
        exact = target.loss

        def smoothed(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            if logits.requires_grad and logits.dtype == torch.float32:  # the network's, not the stack's
                return 0.9 * exact(logits, target) - 0.1 * logits.log_softmax(-1).mean(-1)
            return exact(logits, target)

        target.loss = smoothed
        return target, encoded


def quantiles(X: Blocks, X_test: Blocks) -> tuple[Blocks, Blocks]:
    """Vectors through a quantile transform to normal."""
    train, test = dict(X.items()), dict(X_test.items())
    for name, kind in X.kinds.items():
        if kind == "vector":
            transformer = QuantileTransformer(
                n_quantiles=min(500, len(X)), output_distribution="normal", random_state=0
            )
            train[name], test[name] = transformer.fit_transform(X[name]), transformer.transform(X_test[name])
    return Blocks(train), Blocks(test)


def piecewise_linear(X: Blocks, X_test: Blocks, n_bins: int = 8) -> tuple[Blocks, Blocks]:
    """Numbers of narrow vectors by how far they fill each bin between quantiles (Gorishniy et al. 2022)."""
    train, test = dict(X.items()), dict(X_test.items())
    for name, kind in X.kinds.items():
        if kind == "vector" and X[name].shape[1] <= 100:
            edges = np.nanquantile(X[name], np.linspace(0, 1, n_bins + 1), axis=0)  # (bins + 1, features)
            widths = np.maximum(np.diff(edges, axis=0), 1e-12)

            def filled(x: np.ndarray, edges: np.ndarray = edges, widths: np.ndarray = widths) -> np.ndarray:
                return np.clip((x[:, None] - edges[:-1]) / widths, 0, 1).reshape(len(x), -1)

            train[name], test[name] = filled(train[name]), filled(test[name])
    return Blocks(train), Blocks(test)


def smooth_clip(X: Blocks, X_test: Blocks) -> tuple[Blocks, Blocks]:
    """Vectors scaled by their quartiles, and clipped smoothly at three (RealMLP: Holzmüller et al. 2024, A.2)."""
    train, test = dict(X.items()), dict(X_test.items())
    for name, kind in X.kinds.items():
        if kind == "vector":
            low, middle, high = np.nanquantile(X[name], (0.25, 0.5, 0.75), axis=0)
            spread = np.ptp(np.nan_to_num(X[name], nan=0.0), axis=0) / 2
            scale = np.where(high > low, high - low, np.where(spread > 0, spread, 1.0))
            for part in (train, test):
                z = (part[name] - middle) / scale
                part[name] = z / np.sqrt(1 + (z / 3) ** 2)
    return Blocks(train), Blocks(test)


@register_encoder("trial: residual")
class Residual(nn.Module):
    """A linear layer and blocks that add to what they read (ResNet of Gorishniy et al. 2021, section 3.2)."""

    kinds: ClassVar = ("vector", "sparse")

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        n_blocks: int = 2,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        self.out_dim, self.compressed = hidden_dim, info.n_components > 0
        kind, width = ("vector", info.n_components) if self.compressed else (info.kind, info.shape[0])
        self.first = make_linear(kind, width, hidden_dim)

        def block() -> nn.Module:
            inner = [nn.LayerNorm(hidden_dim), nn.Linear(hidden_dim, 2 * hidden_dim), make_activation(activation)]
            return nn.Sequential(*inner, nn.Dropout(dropout), nn.Linear(2 * hidden_dim, hidden_dim))

        self.blocks = nn.ModuleList([block() for _ in range(n_blocks)])
        self.last = nn.Sequential(nn.LayerNorm(hidden_dim), make_activation(activation), nn.Dropout(dropout))

    def forward(self, x: Any, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.first(x.compressed if self.compressed else x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h), mask


@register_encoder("trial: periodic")
class Periodic(nn.Module):
    """Each number through sines and cosines of learned frequencies and a layer of its own (PLR, Gorishniy 2022)."""

    kinds: ClassVar = ("vector",)

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        n_frequencies: int = 16,
        width: int = 8,
        scale: float = 0.1,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        self.out_dim, d = hidden_dim, info.shape[0]
        self.frequencies = nn.Parameter(scale * torch.randn(d, n_frequencies))
        self.each = nn.Parameter(torch.randn(d, 2 * n_frequencies, width) / (2 * n_frequencies) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(d, width))
        linear = nn.Linear(d * (width + 1), hidden_dim)
        self.block = DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = 2 * torch.pi * x[..., None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)  # (B, d, 2 frequencies)
        embedded = torch.relu(torch.einsum("bdf,dfw->bdw", waves, self.each) + self.bias)
        return self.block(torch.cat([x[..., None], embedded], dim=-1).flatten(1)), mask


class MeanOfFusions(BaseEstimator):
    """Two fits of half the members each, with other fusions, averaged: members that differ not in seed alone."""

    def __init__(self, kind: type, fusions: tuple[str, str], random_state: int) -> None:
        self.kind, self.fusions, self.random_state = kind, fusions, random_state

    def fit(self, X: Blocks, y: Any, groups: Any = None, time: Any = None) -> MeanOfFusions:
        own = [self.kind(fusion=name, n_members=4, random_state=self.random_state) for name in self.fusions]
        self.estimators_ = [model.fit(X, y, groups=groups, time=time) for model in own]
        self.classes_ = getattr(self.estimators_[0], "classes_", None)
        return self

    def predict_proba(self, X: Blocks) -> np.ndarray:
        return np.mean([model.predict_proba(X) for model in self.estimators_], axis=0)

    def predict(self, X: Blocks) -> np.ndarray:
        return np.mean([model.predict(X) for model in self.estimators_], axis=0)


def vectors(encoder: Any, kinds: tuple[str, ...] = ("vector", "sparse"), width: int = 10**9) -> Any:
    """Another encoder for modalities of these kinds of at most so many features."""
    return lambda X: {
        "encoders": {n: encoder for n, kind in X.kinds.items() if kind in kinds and X[n].shape[1] <= width}
    }


def input_dropout(width: int) -> Callable[[Blocks], dict[str, Any]]:
    """Dropout of 0.1 on the input of vectors of at least so many features."""

    def choose(X: Blocks) -> dict[str, Any]:
        vectors = {n: X[n].shape[1] for n, kind in X.kinds.items() if kind in ("vector", "sparse")}
        return {"encoders": {n: Encoder("mlp", input_dropout=0.1) for n, d in vectors.items() if d >= width}}

    return choose


def sequences(name: str) -> Callable[[Blocks], dict[str, Any]]:
    """Another encoder for sequences."""
    return lambda X: {"encoders": {n: name for n, kind in X.kinds.items() if kind == "sequence"}}


# Variant -> parameters that differ from the base, or a function of X that gives them.
VARIANTS: dict[str, dict[str, Any] | Callable[[Blocks], dict[str, Any]]] = {
    "base": {},
    "no modality heads": {"modality_loss": 0.0},
    "modality_loss 0.25": {"modality_loss": 0.25},
    "modality_loss 1": {"modality_loss": 1.0},
    "no stack": {"stack": False},
    "one bare member": {"n_members": 1, "modality_loss": 0.0},
    "1 member": {"n_members": 1},
    "4 members": {"n_members": 4},
    "16 members": {"n_members": 16},
    "hidden_dim 32": {"hidden_dim": 32},
    "hidden_dim 64": {"hidden_dim": 64},
    "hidden_dim 128": {"hidden_dim": 128},
    "hidden_dim 256": {"hidden_dim": 256},
    "4 members, hidden_dim 128": {"n_members": 4, "hidden_dim": 128},
    "4 members, hidden_dim 256": {"n_members": 4, "hidden_dim": 256},
    "no experts": {"experts": None},
    "dropout 0.1": {"dropout": 0.1},
    "dropout 0.5": {"dropout": 0.5},
    "weight_decay 0.01": {"weight_decay": 0.01},
    "weight_decay 0.2": {"weight_decay": 0.2},
    "lr 0.001": {"lr": 1e-3},
    "lr 0.01": {"lr": 1e-2},
    "half the epochs": {"epochs": 0.5},
    "double the epochs": {"epochs": 2.0},
    "double the epochs, dropout 0.5": {"epochs": 2.0, "dropout": 0.5},
    "early stopping": {"early_stopping": True},
    "constant rate": {"lr_schedule": None},
    "gelu": {"activation": "gelu"},
    "input dropout": input_dropout(1),
    "input dropout from 32 features": input_dropout(32),
    "no sparse compression": {"sparse_components": None},
    "quantile transform": {"prepare": quantiles},
    "weight average": {"callbacks": [WeightAverage()]},
    "label smoothing": {"class": Smoothed},
    "mixup 0.2": {"augment": {"*": Mixup(0.2)}},
    "modality dropout 0.1": {"modality_dropout": 0.1},
    "modality dropout 0.2": {"modality_dropout": 0.2},
    "piecewise-linear numbers": {"prepare": piecewise_linear},
    "periodic numbers": vectors("trial: periodic", ("vector",), 100),
    "two layers": vectors(Encoder("mlp", n_layers=2)),
    "residual encoders": vectors("trial: residual"),
    "robust scale, smooth clip": {"prepare": smooth_clip},
    "concat and mfb, 4 members each": {"fusions": ("concat", "mfb")},
    "concat and early, 4 members each": {"fusions": ("concat", "early")},
    "sequences: gru": sequences("gru"),
    "sequences: transformer": sequences("transformer"),
    "(stacked logistic regression)": {"baseline": "stack"},
    **{f"fusion {name}": {"fusion": name} for name in ("early", "late", "sum", "attention", "mfb", "mfh")},
    "fusion mfb, factor 2": {"fusion": Fusion("mfb", factor=2)},
}


def load_or_make(name: str, folder: Path) -> Dataset:
    """A real set, or one of 50,000 generated pairs of vectors: ``generated+regression``, say."""
    base, _, task = name.partition("+")
    if base != "generated":
        return load(name, folder)
    if task not in TASKS:
        raise ValueError(f"unknown set {name!r}, expected generated+{' or generated+'.join(TASKS)}.")
    X, y, _ = make(50_000, seed=0)
    y = (y > 0).astype(int) if task == "classification" else y
    return Dataset(name, X, y, task, splits=[(np.arange(len(y)), np.arange(0))], metrics=())


def development_split(data: Dataset, repeat: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows to score, both of the training part of the first split."""
    train = data.splits[0][0]
    if data.time is not None:
        train = train[np.argsort(data.time[train], kind="stable")]
        n_fit = len(train) - len(train) // 4
        return train[:n_fit], train[n_fit:]
    options = {"n_splits": 1, "test_size": 0.25, "random_state": repeat}
    if data.groups is not None:
        split = GroupShuffleSplit(**options).split(train, groups=data.groups[train])
    elif data.task == "classification":
        split = StratifiedShuffleSplit(**options).split(train, data.y[train])
    else:
        split = ShuffleSplit(**options).split(train)
    fit, score = next(split)
    return train[fit], train[score]


def measure(folder: Path, name: str, variant: str, repeat: int, threads: int) -> dict[str, Any]:
    """Score of one variant on one development split."""
    torch.set_num_threads(threads)
    full = load_or_make(name, folder)
    data = Dataset(**{**vars(full), "splits": [development_split(full, repeat)]})
    X, y, X_score, y_score, groups = data.split(0)
    choice = VARIANTS[variant]
    params = dict(choice(X) if callable(choice) else choice)
    if prepare := params.pop("prepare", None):
        X, X_score = prepare(X, X_score)
    factor = params.pop("epochs", None)
    classify = data.task == "classification"
    kind = params.pop("class", MultimodalClassifier) if classify else MultimodalRegressor
    params.pop("class", None)
    if baseline := params.pop("baseline", None):
        model = Baselines(data, X, y, groups).models[baseline]
    elif fusions := params.pop("fusions", None):
        model = MeanOfFusions(kind, fusions, repeat)
    else:
        model = kind(random_state=repeat, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer groups than members
        if factor is not None:
            from skmm.training import auto_batch_size, auto_epochs

            model.set_params(max_epochs=round(factor * auto_epochs(len(X), auto_batch_size(len(X)))))
        start = time.perf_counter()
        try:
            known = data.fit_params(0)
            model.fit(X, y, **{name: known[name] for name in known if has_fit_parameter(model, name)})
        except ValueError as error:  # early stopping may leave a single group to the members
            return {"set": name, "variant": variant, "repeat": repeat, "error": str(error)}
        seconds = time.perf_counter() - start
    result = {"set": name, "variant": variant, "repeat": repeat, "seconds": seconds}
    if not classify:
        score = r2_score(y_score, model.predict(X_score))  # of several targets the mean
        return {**result, "score": score, "loss": 1 - score}
    proba = model.predict_proba(X_score)
    hit = accuracy_score(y_score, model.classes_[proba.argmax(axis=1)])
    return {**result, "score": hit, "loss": log_loss(y_score, proba, labels=model.classes_)}


def table(rows: list[dict[str, Any]], sets: list[str]) -> str:
    """Mean over sets and repeats, and the paired difference to the base with its standard error over both."""
    found = {(r["set"], r["variant"], r["repeat"]): r for r in rows if r["set"] in sets and "error" not in r}
    lines = [
        "| variant | score | loss | score − base | loss − base | seconds / base | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in VARIANTS:
        keys = [k for k in found if k[1] == variant and (k[0], "base", k[2]) in found]
        if not keys:
            continue
        ours, base = [found[k] for k in keys], [found[(k[0], "base", k[2])] for k in keys]
        cells = [f"{np.mean([r[m] for r in ours]):.4f}" for m in ("score", "loss")]
        for m in ("score", "loss"):
            gap = np.array([a[m] - b[m] for a, b in zip(ours, base, strict=True)])
            error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else 0.0
            cells.append(f"{gap.mean():+.4f} ± {error:.4f}")
        ratio = np.median([a["seconds"] / b["seconds"] for a, b in zip(ours, base, strict=True)])
        lines.append(f"| {variant} | {' | '.join(cells)} | {ratio:.2f} | {len(keys)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument(
        "--sets", nargs="+", default=list(SETS), metavar="SET", help="a real set, or a generated one"
    )
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=Path, default=Path("defaults.jsonl"))
    args = parser.parse_args()
    folder = data_folder(parser, args)
    records = Records(args.log, "set", "variant", "repeat")
    tasks = [
        (name, variant, repeat)
        for repeat in range(args.repeats)
        for variant in args.variants
        for name in args.sets
        if (name, variant, repeat) not in records
    ]
    run = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for result in run(delayed(measure)(folder, *task, args.threads) for task in tasks):
        records.add(result)
        print(result, flush=True)
    print(table(records.rows(), args.sets))


if __name__ == "__main__":
    main()
