"""What augmentation is worth on 100 labels of the audio-visual digits.

    python docs/benchmarks/augmentation.py --data FOLDER --jobs 2

Ten samples of each digit are drawn from the training part, once per seed. The augmentation is chosen on the
training part alone, by leaving out one of its speakers at a time; then the default estimator with it and without it
is fitted on five draws and scored on the official test part, whose speakers are others.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from datasets import add_data_argument, data_folder, load

from skmm import MultimodalClassifier
from skmm.augmentation import GaussianNoise, Mixup, SpecAugment, TimeShift

# what is tried, of the usual for spectrograms and for vectors
CANDIDATES: dict[str, Any] = {
    "none": None,
    "SpecAugment": {"audio": SpecAugment()},
    "TimeShift": {"audio": TimeShift()},
    "GaussianNoise": {"audio": GaussianNoise(0.3), "image": GaussianNoise(0.3)},
    "Mixup": {"*": Mixup(0.2)},
    "TimeShift, SpecAugment": {"audio": [TimeShift(), SpecAugment()]},
    "TimeShift, SpecAugment, GaussianNoise": {
        "audio": [TimeShift(), SpecAugment()],
        "image": GaussianNoise(0.3),
    },
    "TimeShift, SpecAugment, Mixup": {"audio": [TimeShift(), SpecAugment()], "*": Mixup(0.2)},
}


def draw(rows: np.ndarray, y: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """As many rows of each class, at random."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.choice(rows[y[rows] == c], per_class, replace=False) for c in np.unique(y)])


def score(name: str, pool: str, seed: int, folder: Path, per_class: int) -> float:
    """Test accuracy of one fit; ``pool`` is "test", or the training speaker to leave out and score on."""
    torch.set_num_threads(1)
    data = load("avdigits", folder)
    (train, test), speaker = data.splits[0], data.groups
    if pool != "test":
        assert speaker is not None
        train, test = train[speaker[train] != pool], train[speaker[train] == pool]
    rows = draw(train, data.y, per_class, seed)
    clf = MultimodalClassifier(augment=CANDIDATES[name], random_state=seed, device="cpu")
    return clf.fit(data.X[rows], data.y[rows]).score(data.X[test], data.y[test])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--seeds", type=int, default=5, help="draws that are scored on the test part")
    parser.add_argument("--dev-seeds", type=int, default=3, help="draws for each speaker left out")
    parser.add_argument("--per-class", type=int, default=10, help="labels of each digit")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    folder = data_folder(parser, args)
    data = load("avdigits", folder)
    assert data.groups is not None
    speakers = sorted(set(data.groups[data.splits[0][0]]))
    parallel = joblib.Parallel(n_jobs=args.jobs)

    # draws of the development split are none of those that are scored at the end
    trials = list(itertools.product(CANDIDATES, speakers, range(1000, 1000 + args.dev_seeds)))
    scores = parallel(joblib.delayed(score)(*trial, folder, args.per_class) for trial in trials)
    found: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for (name, _, _), value in zip(trials, scores, strict=True):
        found[name].append(value)
    print(f"| development ({len(speakers)} speakers left out x {args.dev_seeds} draws) | accuracy |\n|---|---|")
    for name, values in found.items():
        print(f"| {name} | {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} |")
    chosen = max((n for n in CANDIDATES if n != "none"), key=lambda n: float(np.mean(found[n])))

    seeds = range(args.seeds)
    tested = list(itertools.product(["none", chosen], seeds))
    scores = parallel(joblib.delayed(score)(name, "test", seed, folder, args.per_class) for name, seed in tested)
    plain, augmented = np.array(scores[: args.seeds]), np.array(scores[args.seeds :])
    print(f"\n| test, {10 * args.per_class} labels | accuracy | {' | '.join(f'draw {s}' for s in seeds)} |")
    print("|---|---|" + "---|" * args.seeds)
    for name, values in (("none", plain), (chosen, augmented)):
        print(f"| {name} | {values.mean():.3f} ± {values.std(ddof=1):.3f} | ", end="")
        print(" | ".join(f"{v:.3f}" for v in values) + " |")
    gain = augmented - plain
    error = gain.std(ddof=1) / math.sqrt(len(gain))
    print(f"\nGain of each draw over itself: {gain.mean():+.3f}, standard error {error:.3f}.")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import augmentation  # joblib's workers can import functions of a module, but not those of a script

    augmentation.main()
