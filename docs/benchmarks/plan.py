"""What many samples cost, by arithmetic on the pace of this machine: bytes, hours of one core, dollars.

    python docs/benchmarks/plan.py                          # measures for a minute, then prints the table
    python docs/benchmarks/plan.py --price 0.03 --epochs 10

Measured are rows a second of one core, in training and in prediction: of two short vectors in memory, by one
network and by eight members, and of photographs of 64 x 64 by conv2d. Of tables on disk the pace comes from
larger_than_memory.py, by ``--disk-train`` and ``--disk-predict``. What follows is division: no fit of that many
rows was run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from skmm import MultimodalClassifier

SIZES = (10**6, 10**7, 10**9)


class Pace(NamedTuple):
    """Rows a second of one core, and bytes of a row."""

    train: float
    predict: float
    n_bytes: float


def measured(X: Mapping[str, np.ndarray], **params: Any) -> Pace:
    """Of these samples, without the first epoch and what comes before and after training."""
    n = len(next(iter(X.values())))
    y = np.random.default_rng(1).integers(2, size=n)
    given = {"experts": None, "stack": False, "max_epochs": 3, "device": "cpu", "random_state": 0}
    clf = MultimodalClassifier(**{**given, **params}).fit(X, y)
    start = time.perf_counter()
    clf.predict(X)
    return Pace(
        n / min(clf.history_[1:, "dur"]), n / (time.perf_counter() - start), sum(x.nbytes for x in X.values()) / n
    )


def paces(args: argparse.Namespace) -> dict[str, Pace]:
    """By what the samples are."""
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=(args.rows, 10)).astype(np.float32) for name in "ab"}
    n_pictures = max(64, args.rows // 40)
    pictures = {
        "picture": rng.normal(size=(n_pictures, 64, 64, 3)).astype(np.float32),
        "vector": rng.normal(size=(n_pictures, 10)).astype(np.float32),
    }
    return {
        "two vectors of 10, one network": measured(vectors, n_members=1),
        "two vectors of 10, eight members": measured(vectors, n_members=8),
        "a text, a vector of 3,072, numbers; on disk": Pace(args.disk_train, args.disk_predict, args.disk_bytes),
        "a picture of 64 x 64, conv2d, one network": measured(
            pictures, n_members=1, encoders={"picture": "conv2d"}, batch_size=64
        ),
    }


def amount(n_bytes: float) -> str:
    """Bytes in a unit that can be read."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000, help="rows that are measured")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--price", type=float, default=0.05, help="dollars for a core and an hour")
    parser.add_argument("--disk-train", type=float, default=1817.0, help="rows a second of larger_than_memory.py")
    parser.add_argument("--disk-predict", type=float, default=2187.0)
    parser.add_argument("--disk-bytes", type=float, default=13_700.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| samples | rows a second, training | prediction | rows | bytes | core hours, "
          f"{args.epochs} epochs | dollars | core hours, prediction | dollars |")  # fmt: skip
    print("|---|" + "---:|" * 8)
    for name, pace in paces(args).items():
        for i, n in enumerate(SIZES):
            train, predict = args.epochs * n / pace.train / 3600, n / pace.predict / 3600
            first = (name, f"{pace.train:,.0f}", f"{pace.predict:,.0f}") if i == 0 else ("", "", "")
            cost = (f"{hours:,.3g} | {hours * args.price:,.2g}" for hours in (train, predict))
            print(f"| {' | '.join(first)} | {n:.0e} | {amount(n * pace.n_bytes)} | {' | '.join(cost)} |")


if __name__ == "__main__":
    main()
