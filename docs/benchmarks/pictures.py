"""What a strided first convolution of pictures gains in time, and what it costs in score.

    python docs/benchmarks/pictures.py --data FOLDER --members 2

Each set is fitted with ``Encoder("conv2d", stride=1)``, which computes at every pixel, and with the default, on the
same folds and with the same seeds, from pictures alone. The sets: the photographs of ``houses`` (the log of the
price from four rooms) and ``flipkart`` (seven categories), and three that are generated: small shapes on a smooth
ground, fine gratings, and what is where. ``--speed`` measures seconds of the CPU of whole default fits instead.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import add_data_argument, data_folder, load
from sklearn.metrics import log_loss

from skmm import Blocks, Encoder, MultimodalClassifier, MultimodalRegressor

STRIDES = {"stride 1": Encoder("conv2d", stride=1), "default": Encoder("conv2d")}
ROOMS = ("frontal", "bedroom", "kitchen", "bathroom")
SIZE, N_TRAIN, N_TEST = 64, 300, 400
Split = tuple[Blocks, np.ndarray, Blocks, np.ndarray]


# -- generated pictures ---------------------------------------------------------------------------------------


def ground(n: int, cells: int, contrast: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Pictures of coloured squares with noise on them, (n, SIZE, SIZE, 3)."""
    each = SIZE // cells
    squares = rng.normal(size=(n, cells, cells, 3)).repeat(each, axis=1).repeat(each, axis=2)
    return 128 + contrast * squares + noise * rng.normal(size=(n, SIZE, SIZE, 3))


def objects(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three discs, crosses or frames of 8 pixels, of any colours at any places."""
    step = np.arange(8) - 3.5
    far, near = np.maximum(*np.abs(np.meshgrid(step, step))), np.minimum(*np.abs(np.meshgrid(step, step)))
    shapes = [np.hypot(far, near) <= 3.6, near < 1.2, far > 2.2]
    X, y = ground(n, 4, 15, 8, rng), rng.integers(3, size=n)
    for picture, label in zip(X, y, strict=True):
        for _ in range(3):
            row, column = rng.integers(0, SIZE - 8, 2)
            colour = rng.normal(size=3)
            picture[row : row + 8, column : column + 8][shapes[label]] += 110 * colour / np.linalg.norm(colour)
    return X, y


def textures(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gratings of three periods, the finest of 2.6 pixels, in two directions."""
    rows, columns = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    X, y = ground(n, 8, 25, 20, rng), rng.integers(6, size=n)
    for picture, label in zip(X, y, strict=True):
        angle = (0.3, 1.2)[label % 2] + 0.12 * rng.normal()
        period = (2.6, 4.0, 7.0)[label // 2] * (1 + 0.05 * rng.normal())
        phase = 2 * np.pi * (rows * np.cos(angle) + columns * np.sin(angle)) / period + rng.uniform(0, 2 * np.pi)
        picture += 14 * np.sin(phase)[..., None]
    return X, y


def positions(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A red or a blue square of 10 pixels; the class is its quarter of the picture, turned by two if it is blue."""
    X, y = ground(n, 8, 25, 20, rng), np.zeros(n, dtype=int)
    for i in range(n):
        row, column = rng.integers(0, SIZE - 10, 2)
        blue = rng.integers(2)
        X[i, row : row + 10, column : column + 10, 2 * blue] += 60
        y[i] = (2 * (row + 5 >= SIZE / 2) + (column + 5 >= SIZE / 2) + 2 * blue) % 4
    return X, y


GENERATED = {"objects": objects, "textures": textures, "positions": positions}


# -- scores ---------------------------------------------------------------------------------------------------


def splits(name: str, folds: list[int], folder: Path) -> Iterator[Split]:
    """Training and test parts of pictures alone; of what is generated the numbers of the folds are seeds."""
    if name in GENERATED:
        for seed in folds:
            X, y = GENERATED[name](N_TRAIN + N_TEST, np.random.default_rng(seed))
            photos = Blocks(photo=X.clip(0, 255).astype(np.uint8))
            yield photos[:N_TRAIN], y[:N_TRAIN], photos[N_TRAIN:], y[N_TRAIN:]
        return
    data = load(f"{name}+raw", folder)
    kept = ROOMS if name == "houses" else ("image",)
    for i in folds:
        X_train, y_train, X_test, y_test, _ = data.split(i)
        X_train, X_test = (Blocks({room: X[room] for room in kept}) for X in (X_train, X_test))
        yield X_train, y_train, X_test, y_test


def judged(encoder: Encoder, split: Split, seed: int, members: int) -> tuple[float, float, float]:
    """R2 or accuracy, share of variance left or log-loss, and seconds of a fit."""
    X_train, y_train, X_test, y_test = split
    regression = y_train.dtype.kind == "f"
    estimator: Any = (MultimodalRegressor if regression else MultimodalClassifier)(
        encoders=encoder, n_members=members, experts=None, random_state=seed, device="cpu"
    )
    start = time.process_time()
    estimator.fit(X_train, y_train)
    seconds = time.process_time() - start
    score = estimator.score(X_test, y_test)
    if regression:
        return score, 1 - score, seconds
    return score, log_loss(y_test, estimator.predict_proba(X_test), labels=estimator.classes_), seconds


def scores(names: list[str], folds: list[int], members: int, folder: Path) -> None:
    """A line for each fold, and the mean difference."""
    print("| set | fold | " + " | ".join(f"{s}: score | loss | CPU s" for s in STRIDES) + " |")
    print("|---" * (2 + 3 * len(STRIDES)) + "|")
    for name in names:
        rows = []
        for i, split in zip(folds, splits(name, folds, folder), strict=True):
            rows.append([judged(encoder, split, i, members) for encoder in STRIDES.values()])
            told = " | ".join(f"{s:.3f} | {x:.3f} | {t:.1f}" for s, x, t in rows[-1])
            print(f"| {name} | {i} | {told} |", flush=True)
        away = np.diff(np.array(rows)[..., :2], axis=1)[:, 0]
        (score, loss), deviation = away.mean(axis=0), away.std(axis=0)
        print(f"{name}: score {score:+.3f} ± {deviation[0]:.3f}, loss {loss:+.3f} ± {deviation[1]:.3f}", flush=True)


# -- seconds --------------------------------------------------------------------------------------------------


def cases() -> Iterator[tuple[str, Blocks, np.ndarray]]:
    """What whole default fits are measured on."""
    rng = np.random.default_rng(0)

    def photos(n: int, *size: int) -> np.ndarray:
        return rng.integers(0, 256, (n, *size, 3)).astype(np.uint8)

    for n, size in ((300, (64, 64)), (200, (72, 96))):
        y = rng.integers(3, size=n)
        table = rng.normal(size=(n, 4)) + 0.3 * y[:, None]
        yield f"{n} pictures of {size[0]} x {size[1]}, a table", Blocks(photo=photos(n, *size), table=table), y
    y = rng.integers(3, size=300)
    table, sounds = rng.normal(size=(300, 4)) + 0.3 * y[:, None], rng.normal(size=(300, 100, 40))
    words = (rng.random((300, 500)) < 0.03) * rng.random((300, 500))
    everything = Blocks(photo=photos(300, 32, 32), sound=sounds, text=words, table=table)
    yield "300 pictures of 32 x 32, sounds of 100 x 40, words, a table", everything, y


def speed() -> None:
    print("| rows | stride 1, CPU s | default, CPU s |\n|---|---|---|")
    for name, X, y in cases():
        seconds = []
        for encoder in STRIDES.values():
            clf = MultimodalClassifier(encoders={"photo": encoder}, random_state=0, device="cpu")
            start = time.process_time()
            clf.fit(X, y)
            seconds.append(time.process_time() - start)
        print(f"| {name} | " + " | ".join(f"{s:.0f}" for s in seconds) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="*", default=["houses", "flipkart", *GENERATED])
    parser.add_argument("--folds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--speed", action="store_true", help="seconds of whole default fits, without scores")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.speed:
        speed()
        return
    scores(args.sets, args.folds, args.members, data_folder(parser, args))


if __name__ == "__main__":
    main()
