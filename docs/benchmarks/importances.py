"""What importances by masks say beside estimators that are fitted to every set of modalities, and what they cost.

    python docs/benchmarks/importances.py --data FOLDER --cost > docs/benchmarks/importances.md

One estimator trained with ``modality_dropout=0.3`` is asked about samples without some of their modalities; beside
it a default estimator is fitted anew to each set of them, on the same folds. Compared is the log-loss of the test
parts. ``--cost`` measures ``modality_importances`` of 10,000 generated rows of four modalities against one
``predict_proba`` of them, in seconds of the process, on one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from datasets import Dataset, add_data_argument, load
from records import Records
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from skmm import Blocks, MultimodalClassifier
from skmm.inspection import modality_importances
from skmm.inspection._games import shapley_values

SETS = ("flipkart", "landuse21", "mfeat")


def run(dataset: Dataset, n_rows: int, fold: int, n_folds: int) -> dict[str, Any]:
    """Log-loss by set of modalities on one fold: by masks, and of estimators fitted to the set."""
    rng = np.random.RandomState(0)
    rows = np.sort(rng.permutation(len(dataset.y))[:n_rows])
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(rows, dataset.y[rows])
    train, test = list(folds)[fold]
    X, held = dataset._rows(rows[train]), dataset._rows(rows[test])
    if dataset.transformer is not None:
        transformer = clone(dataset.transformer)
        X, held = transformer.fit_transform(X), transformer.transform(held)
    y, y_held = dataset.y[rows[train]], dataset.y[rows[test]]
    model = MultimodalClassifier(modality_dropout=0.3, random_state=fold, device="cpu").fit(X, y)
    masked = modality_importances(model, held, y_held, scoring="neg_log_loss", n_bootstrap=0)
    names = masked.modalities
    by_mask, retrained = [], []
    for kept in range(1 << len(names)):
        there = [name for i, name in enumerate(names) if kept >> i & 1]
        by_mask.append(masked.scores[tuple(there)])
        if there:
            own = MultimodalClassifier(random_state=fold, device="cpu").fit(X.select(there), y)
        else:
            own = DummyClassifier().fit(X, y)
        retrained.append(-log_loss(y_held, own.predict_proba(held.select(there or names)), labels=own.classes_))
        print(f"{dataset.name} {fold} {there}: {retrained[-1]:.4f}", file=sys.stderr, flush=True)
    return {"modalities": names, "masked": by_mask, "retrained": retrained}


def tell(name: str, found: list[dict[str, Any]]) -> None:
    """The table of one set, means over its folds."""
    masked, retrained = (np.array([f[way] for f in found]) for way in ("masked", "retrained"))
    shares = [np.stack([shapley_values(own) for own in way]) for way in (masked, retrained)]
    print(f"## {name}, {len(found)} folds\n\n| modality | by masks | fitted to every set |\n| :--- | ---: | ---: |")
    for m, modality in enumerate(found[0]["modalities"]):
        cells = (f"{way[:, m].mean():.3f} ± {way[:, m].std(ddof=1):.3f}" for way in shares)
        print(f"| {modality} | {' | '.join(cells)} |")
    sets = scipy.stats.spearmanr(masked.mean(0), retrained.mean(0)).statistic
    each = scipy.stats.spearmanr(shares[0].mean(0), shares[1].mean(0)).statistic
    print(
        f"\nRank correlation (Spearman) of the importances {each:.2f}, of the losses of all {masked.shape[1]} sets "
        f"{sets:.2f}. Log-loss with all modalities: {-masked[:, -1].mean():.3f} of the estimator trained with "
        f"modality_dropout=0.3, {-retrained[:, -1].mean():.3f} of that trained without.\n",
        flush=True,
    )


def cost(n_rows: int = 10_000, n_rounds: int = 3) -> None:
    """Seconds of importances, and of the prediction of the same rows, by turns."""
    rng = np.random.default_rng(0)

    def make(n: int) -> tuple[Blocks, np.ndarray]:
        y = rng.integers(0, 3, n)
        blocks = {
            "a": rng.normal(size=(n, 20)) + 0.5 * y[:, None],
            "b": rng.normal(size=(n, 50)) + 0.2 * y[:, None],
            "sequence": rng.normal(size=(n, 12, 6)) + 0.2 * y[:, None, None],
            "noise": rng.normal(size=(n, 8)),
        }
        return Blocks(blocks), y

    model = MultimodalClassifier(modality_dropout=0.3, random_state=0, device="cpu").fit(*make(1500))
    X, y = make(n_rows)
    seconds: dict[str, list[float]] = {"predict": [], "importances": []}
    for _ in range(n_rounds):
        start = time.process_time()
        model.predict_proba(X)
        middle = time.process_time()
        modality_importances(model, X, y, scoring="neg_log_loss", random_state=0)
        seconds["predict"].append(middle - start)
        seconds["importances"].append(time.process_time() - middle)
    means = {way: f"{np.mean(each):.1f} ± {np.std(each, ddof=1):.1f} s" for way, each in seconds.items()}
    ratio = np.mean(seconds["importances"]) / np.mean(seconds["predict"])
    print(
        f"## Cost\n\n{n_rows:,} rows, four modalities, a default estimator with its experts, 200 draws of the "
        f"intervals: importances by the log-loss over all 16 sets {means['importances']} of one thread, "
        f"one `predict_proba` {means['predict']}: {ratio:.1f} times that, over {n_rounds} rounds.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--rows", type=int, default=1000, help="of each set at most so many, drawn by a seed")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--cost", action="store_true", help="measure the cost too")
    parser.add_argument("--log", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    records = Records(args.log, "set", "fold")
    _, command, text = __doc__.strip().split("\n\n", 2)
    print(f"# Importances\n\n```console\n{command.strip()}\n```\n\n{text.replace('``', '`')}\n")
    for name in args.sets:
        dataset = load(name, args.data)
        for fold in range(args.folds):
            if (name, fold) not in records:
                found = run(dataset, args.rows, fold, args.folds)
                records.add({"set": name, "fold": fold, "found": found})
        tell(name, [records.found[name, fold]["found"] for fold in range(args.folds)])
    if args.cost:
        cost()


if __name__ == "__main__":
    main()
