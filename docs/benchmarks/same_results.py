"""Do two versions of the package learn the same? Record a set of fits with one, compare with the other.

    python docs/benchmarks/same_results.py --write before.npz
    python docs/benchmarks/same_results.py --against before.npz

Bits depend on the machine and on torch, so both are run on one machine. The fits are small, of every kind of block,
all fusions, members under a stack, missing samples, weights, groups, early stopping, going on, a search, a
comparison, a table, and speech; what is compared is what they predict, to the last bit.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp

from skmm import (
    Blocks,
    Fusion,
    MultimodalClassifier,
    MultimodalRegressor,
    SpeechRecognizer,
    compare_fusions,
    list_fusions,
)
from skmm.augmentation import GaussianNoise
from skmm.model_selection import FusionSearchCV

N = 60
Recorded = Iterator[tuple[str, np.ndarray]]


def make_blocks(kinds: list[str], seed: int = 0) -> tuple[Blocks, np.ndarray]:
    """A block of each kind, named by it, and three classes."""
    rng = np.random.RandomState(seed)
    y = rng.permutation(np.arange(N) % 3)
    signal = np.eye(3)[y] @ rng.randn(3, 6)
    lengths = rng.randint(3, 9, N)
    made = {
        "vector": signal + rng.randn(N, 6),
        "sequence": signal[:, None, :3] + rng.randn(N, 7, 3),
        "ragged": [s[:3] + rng.randn(t, 3) for s, t in zip(signal, lengths, strict=True)],
        "sparse": sp.csr_array(np.maximum(signal + rng.randn(N, 6), 0)),
        "tokens": [rng.randint(4, size=t) + 3 * label for t, label in zip(lengths, y, strict=True)],
        "image": np.clip(60 * y[:, None, None] + 60 + 20 * rng.randn(N, 8, 8), 0, 255).astype(np.uint8),
        "video": signal[:, None, None, None, :3] + rng.randn(N, 4, 6, 6, 3),
    }
    return Blocks({kind: made[kind] for kind in kinds}), y


def classifier(fusion: object = "concat", **params: object) -> MultimodalClassifier:
    fast = {"n_members": 1, "max_epochs": 3, "hidden_dim": 16, "device": "cpu", "random_state": 0}
    return MultimodalClassifier(fusion, **{**fast, **params})


def fusions() -> Recorded:
    X, y = make_blocks(["vector", "sequence"])
    for name in list_fusions():
        for n_members in (1, 3):
            clf = classifier(name, n_members=n_members).fit(X, y)
            yield f"{name} {n_members}", clf.predict_proba(X)


def kinds() -> Recorded:
    for kind in ("vector", "sequence", "ragged", "sparse", "tokens", "image", "video"):
        X, y = make_blocks([kind, "vector"] if kind != "vector" else [kind])
        clf = classifier(n_members=2).fit(X, y)
        yield kind, clf.predict_proba(X)
        yield f"{kind} oof", clf.oof_prediction_
        yield f"{kind} transform", clf.transform(X)


def encoders() -> Recorded:
    pairs = [("gru", "ragged"), ("lstm", "sequence"), ("transformer", "ragged"), ("conformer", "sequence")]
    for name, kind in pairs:
        X, y = make_blocks([kind, "vector"])
        yield name, classifier("attention", encoders={kind: name}, n_members=2).fit(X, y).predict_proba(X)


def training() -> Recorded:
    X, y = make_blocks(["vector", "sequence"])
    weights, groups = np.linspace(0.5, 2, N), np.arange(N) % 12
    vector = X["vector"].copy()
    vector[np.arange(N) % 5 == 2] = np.nan
    gaps = Blocks(vector=vector, sequence=X["sequence"])
    yield "weights", classifier(n_members=3).fit(X, y, sample_weight=weights).predict_proba(X)
    yield "groups", classifier(n_members=3).fit(X, y, groups=groups).predict_proba(X)
    yield "missing", classifier(n_members=3, modality_dropout=0.2).fit(gaps, y).predict_proba(gaps)
    yield "augment", classifier(n_members=2, augment={"vector": GaussianNoise(0.3)}).fit(X, y).predict_proba(X)
    yield "early stopping", classifier(early_stopping=True, max_epochs=8).fit(X, y).predict_proba(X)
    yield "multilabel", np.asarray(classifier(n_members=2).fit(X, np.eye(3, dtype=int)[y]).predict_proba(X))
    for optimizer in ("sgd", "adam", "rmsprop"):
        yield optimizer, classifier(optimizer=optimizer, clip_grad_norm=1.0).fit(X, y).predict_proba(X)
    stream = classifier()
    for part in (slice(0, 30), slice(30, 60)):
        stream.partial_fit(X[part], y[part], classes=[0, 1, 2])
    yield "partial_fit", stream.predict_proba(X)
    warm = classifier(warm_start=True, n_members=2).fit(X, y).fit(X, y)
    yield "warm_start", warm.predict_proba(X)
    for loss in ("squared_error", "huber", "quantile"):
        reg = MultimodalRegressor(loss=loss, n_members=2, max_epochs=3, random_state=0)
        yield loss, reg.fit(X, y + np.linspace(0, 1, N)).predict(X)


def tables() -> Recorded:
    rng = np.random.RandomState(0)
    y = np.arange(N) % 2
    numbers, places = rng.randn(N) + y, rng.choice(["x", "y", "z"], N)
    texts = []
    for label in y:
        words = rng.choice(["good", "bad"]), "loved" if label else "hated", rng.choice(["much", "so"])
        texts.append("{} film {} it {}".format(*words))
    frame = pd.DataFrame({"a": numbers, "b": places, "text": texts})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the words tell the class
        clf = classifier(modalities="auto", n_members=2).fit(frame, y)
    yield "auto", clf.predict_proba(frame)
    flat, _ = make_blocks(["vector"])
    clf = classifier(modalities={"l": slice(0, 3), "r": slice(3, 6)})
    yield "columns", clf.fit(flat["vector"], y).predict_proba(flat["vector"])


def searches() -> Recorded:
    X, y = make_blocks(["vector", "sequence"])
    grid = {"fusion": ["late", "mfb", Fusion("mfh", factor=3)], "lr": [0.003, 0.01]}
    search = FusionSearchCV(classifier(), grid, cv=3).fit(X, y)
    yield "search", search.cv_results_["mean_test_score"]
    yield "search refit", search.predict_proba(X)
    found = compare_fusions(X, y, fusions=["late", "concat"], estimator=classifier(), cv=3, random_state=0)
    for name, scores in found.scores.items():
        for metric, values in scores.items():
            yield f"compare {name} {metric}", values


def speech() -> Recorded:
    rng = np.random.RandomState(0)
    texts = ["".join(rng.choice(list("ab"), 3)) for _ in range(24)]
    audio = [np.repeat(np.eye(2)[["ab".index(c) for c in text]], 6, 0) + 0.1 * rng.randn(18, 2) for text in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recognizer = SpeechRecognizer(max_epochs=3, random_state=0).fit(Blocks(audio=audio), texts)
    yield "speech", np.concatenate([np.asarray(e) for e in recognizer.emissions(Blocks(audio=audio))])


PARTS: list[Callable[[], Recorded]] = [fusions, kinds, encoders, training, tables, searches, speech]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--against", metavar="FILE")
    args = parser.parse_args()
    recorded = {f"{part.__name__}: {name}": np.asarray(a) for part in PARTS for name, a in part()}
    if args.write:
        np.savez(args.write, **recorded)
    print(f"{len(recorded)} results recorded")
    if args.against:
        before = np.load(args.against)
        other = [
            name for name in recorded if name not in before or not np.array_equal(before[name], recorded[name])
        ]
        gone = sorted(set(before.files) - set(recorded))
        for name in other:
            off = np.abs(before[name] - recorded[name]).max() if name in before else "new"
            print(f"differs: {name}: {off}")
        print(
            f"{len(recorded) - len(other)} equal to the last bit, {len(other)} differ, {len(gone)} are gone {gone}"
        )
        if other or gone:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
