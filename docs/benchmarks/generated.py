"""What each fusion can learn, on generated data whose best possible accuracy is known.

    python docs/benchmarks/generated.py --seeds 3

Two modalities, 1000 samples to fit and 2000 to score, two members and their stack, all else at the defaults.

- ``xor``: five normal features each; the class is whether their first features agree in sign. Neither tells
  anything alone.
- ``halves``: the class is the sign of the sum of their first features. Either alone gets 0.75.
- ``redundant``, ``unique``, ``synergistic``: :func:`skmm.datasets.make_multimodal_classification` with all of the
  information of one kind.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
from joblib import Parallel, delayed

from skmm import Blocks, MultimodalClassifier, list_fusions
from skmm.datasets import make_multimodal_classification

N_FIT, N_SCORE = 1000, 2000


def make(task: str, seed: int) -> tuple[Blocks, np.ndarray, float]:
    """Samples, classes and the accuracy of the best possible classifier."""
    n = N_FIT + N_SCORE
    if task in ("xor", "halves"):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, n, 5))
        y = a[:, 0] * b[:, 0] > 0 if task == "xor" else a[:, 0] + b[:, 0] > 0
        return Blocks(a=a, b=b), y.astype(int), 1.0
    shares = {"redundant": 0.0, "unique": 0.0, "synergistic": 0.0, task: 1.0}
    X, y, bayes = make_multimodal_classification(n, random_state=seed, return_bayes=True, **shares)
    return X, y, bayes.accuracy


TASKS = ("xor", "halves", "redundant", "unique", "synergistic")


def measure(fusion: str, task: str, seed: int) -> float:
    torch.set_num_threads(1)
    X, y, _ = make(task, seed)
    model = MultimodalClassifier("concat" if fusion.startswith("only ") else fusion, n_members=2, random_state=seed)
    if fusion.startswith("only "):
        X = X.select([list(X)[int(fusion.removeprefix("only "))]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return float(model.fit(X[:N_FIT], y[:N_FIT]).score(X[N_FIT:], y[N_FIT:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fusions", nargs="+", default=[*list_fusions(), "only 0", "only 1"], metavar="NAME")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    keys = [(f, t, s) for f in args.fusions for t in args.tasks for s in range(args.seeds)]
    scores = dict(zip(keys, Parallel(n_jobs=args.jobs)(delayed(measure)(*key) for key in keys), strict=True))
    print(f"| fusion | {' | '.join(args.tasks)} |", "|---" * (len(args.tasks) + 1) + "|", sep="\n")
    best = [np.mean([make(t, s)[2] for s in range(args.seeds)]) for t in args.tasks]
    print(f"| (best possible) | {' | '.join(f'{value:.3f}' for value in best)} |")
    for f in args.fusions:
        cells = []
        for t in args.tasks:
            found = [scores[f, t, s] for s in range(args.seeds)]
            cells.append(
                f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else f"{found[0]:.3f}"
            )
        print(f"| {f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    import generated  # joblib's workers can import functions of a module, but not those of a script

    generated.main()
