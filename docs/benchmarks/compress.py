"""What a default estimator loses, and what it saves, by each way of making it smaller.

    python docs/benchmarks/compress.py --data FOLDER --log compress.jsonl --plot docs/benchmarks/compress.png

Folds over the rows of each set, whole groups where it has some (subjects, speakers); on each the estimator is
fitted once and everything else made of that fit. What is measured is what ONNX files predict, how long onnxruntime
takes for that on one thread, all files taking turns, and their size; of zeroed weights the loss alone, which the
estimator itself tells. ``--recipes`` compares targets of distillation the same way, on folds of the training part
of each set's first split. ``--log`` keeps each fold as a line of JSON: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, add_data_argument, load
from records import Records
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

import skmm
from skmm.compression import Distilled, Pruned
from skmm.compression._compare import CompressionComparison, judged, measure, summarise

SETS = ["flipkart", "mfeat", "wiki", "landuse21", "avdigits", "utd_mhad"]
ONLY = {"heads": None, "modalities": None}
FREE = {**ONLY, "tol": np.inf, "random_state": 0}  # whatever it costs
# name -> (what is made of the fitted estimator, whether its file is measured)
MODELS: dict[str, tuple[Any, bool]] = {
    "4 members": (lambda m: Pruned(m, members=4, **FREE), True),
    "distilled": (lambda m: Distilled(m, random_state=0), True),
    "pruned": (lambda m: Pruned(m, random_state=0), True),
    "weights 50 %": (lambda m: Pruned(m, members=None, weights=0.5, **FREE), False),
    "weights 80 %": (lambda m: Pruned(m, members=None, weights=0.8, **FREE), False),
}
RECIPES: dict[str, tuple[Any, bool]] = {
    f"alpha {alpha}, mixed {mixed}": (
        lambda m, alpha=alpha, mixed=mixed: Distilled(m, alpha=alpha, n_mixed=mixed, random_state=0),
        False,
    )
    for mixed in (0, "auto")
    for alpha in (0.0, 0.5, 1.0)
}


def folds(dataset: Dataset, n_folds: int, *, recipes: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and to test on."""
    rows = dataset.splits[0][0] if recipes else np.arange(len(dataset.y))
    y = dataset.y[rows]
    options: dict[str, Any] = {"n_splits": n_folds, "shuffle": True, "random_state": 0}
    if dataset.groups is None:
        split = StratifiedKFold(**options).split(y, y)
    else:
        split = StratifiedGroupKFold(**options).split(y, y, dataset.groups[rows])
    for train, test in split:
        yield rows[train], rows[test]


def run(
    dataset: Dataset, train: np.ndarray, test: np.ndarray, models: dict[str, tuple[Any, bool]]
) -> dict[str, Any]:
    """What each model of one fold scores, by its name."""
    X, held = dataset._rows(train), dataset._rows(test)
    if dataset.transformer is not None:
        transformer = clone(dataset.transformer)
        X, held = transformer.fit_transform(X), transformer.transform(held)
    y, groups = dataset.y[train], None if dataset.groups is None else dataset.groups[train]
    whole = skmm.MultimodalClassifier(random_state=0, device="cpu")
    given = X, y, None, groups, None
    opened = whole._fit_open(*given)
    made = {name: make(whole)._compress(whole, opened, *given) for name, (make, _) in models.items()}
    files = {name: made[name] for name, (_, filed) in models.items() if filed}
    found = {}
    if files:
        measured = measure({"whole": whole, **files}, held, dataset.y[test], 30)
        found = {name: m._asdict() for name, m in measured.items()}
    for name, model in {"whole": whole, **made}.items():
        if name not in found:
            p = model.predict_proba(held)
            loss, score = judged(whole, p, dataset.y[test])
            found[name] = {"loss": loss, "score": score}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--run", type=int, default=None, help="how many of the folds to run, by default all")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), help="which to make")
    parser.add_argument("--recipes", action="store_true", help="compare targets of distillation, on training parts")
    parser.add_argument("--log", type=Path, default=None)
    parser.add_argument("--plot", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    models = RECIPES if args.recipes else {name: MODELS[name] for name in args.models}
    records = Records(args.log, "set", "fold")
    comparisons = {}
    for name in args.sets:
        dataset = load(name, args.data)
        each: dict[str, list[dict[str, Any]]] = {}
        splits = list(folds(dataset, args.folds, recipes=args.recipes))
        for fold, (train, test) in enumerate(splits[: args.run]):
            if (name, fold) not in records:
                records.add({"set": name, "fold": fold, "found": run(dataset, train, test, models)})
            for model, scores in records.found[name, fold]["found"].items():
                each.setdefault(model, []).append(scores)
        comparisons[name] = summarise(each, 1 / (args.folds - 1), "log-loss")
        print(f"### {name}\n\n{comparisons[name].summary.to_markdown()}\n", flush=True)
    if args.plot is not None:
        draw(comparisons, args.plot)


def draw(comparisons: dict[str, CompressionComparison], path: Path) -> None:
    """Loss against size, one panel for each set."""
    from matplotlib.figure import Figure

    n_rows = -(-len(comparisons) // 2)
    figure = Figure(figsize=(11, 3.6 * n_rows), layout="constrained")
    axes = np.ravel(figure.subplots(n_rows, 2, squeeze=False))
    for ax, (name, comparison) in zip(axes, comparisons.items(), strict=False):
        comparison.plot(ax)
        ax.set_title(name)
    for ax in axes[len(comparisons) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
