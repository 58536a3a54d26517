"""What the pipeline with nothing set makes of raw columns: photographs, recordings, texts and numbers.

    python docs/benchmarks/raw_columns.py --data FOLDER --log raw_columns.jsonl --jobs 2

Photographs are written as PNG and recordings as WAV, and a DataFrame names the files.
``ModalityTransformer.from_frame`` types its columns, and the default estimator learns from them: from all
modalities, and from each alone. Houses and products run over five folds, the recordings over the official split
(other takes of the same speakers) and over the six speakers, each the test in turn. Results are appended to the log
as they come; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile
import torch
from datasets import add_data_argument, data_folder
from joblib import Parallel, delayed
from PIL import Image
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import make_pipeline

from skmm import ModalityTransformer, MultimodalClassifier, MultimodalRegressor

RATE = 8000  # samples per second of the recordings
ALL = "all modalities"


class Raw(NamedTuple):
    """A table of raw columns, the target, and the training and test rows of each split."""

    frame: pd.DataFrame
    target: np.ndarray
    splits: list[tuple[np.ndarray, np.ndarray]]
    estimator: Any
    score: Callable[[Any, Any], float]


def _photos(pictures: np.ndarray, folder: Path, name: str) -> list[str]:
    """Write pictures as files, once, and give their paths."""
    paths = [folder / f"{name}_{i}.png" for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        if not path.exists():
            Image.fromarray(picture).save(path)
    return [str(path) for path in paths]


def _folds(fold: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


def houses(z: Any, files: Path) -> Raw:
    """Four photographs and a table, the logarithm of the price to predict."""
    frame = pd.DataFrame(z["tabular"], columns=z["tabular_names"].tolist())
    for room in ("frontal", "bedroom", "kitchen", "bathroom"):
        frame[room] = _photos(z[room], files, f"houses_{room}")
    return Raw(frame, np.log(z["y"]), _folds(z["fold"]), MultimodalRegressor, r2_score)


def products(z: Any, files: Path) -> Raw:
    """Name, photograph and two prices of a product, seven categories."""
    frame = pd.DataFrame(z["price"], columns=["retail", "discounted"])
    frame["name"] = z["product_name"]
    frame["photo"] = _photos(z["image"], files, "products")
    return Raw(frame, z["y"], _folds(z["fold"]), MultimodalClassifier, accuracy_score)


def _recordings(z: Any, files: Path, splits: list[tuple[np.ndarray, np.ndarray]]) -> Raw:
    paths = [files / f"digits_{i}.wav" for i in range(len(z["y"]))]
    waves = np.split(z["pcm"], z["offsets"][1:-1])
    for path, wave in zip(paths, waves, strict=True):
        if not path.exists():
            soundfile.write(path, wave, RATE)
    frame = pd.DataFrame({"recording": [str(path) for path in paths]})
    return Raw(frame, z["y"], splits, MultimodalClassifier, accuracy_score)


def digits(z: Any, files: Path) -> Raw:
    """Recordings of spoken digits, the official split."""
    return _recordings(z, files, [(z["train_idx"], z["test_idx"])])


def other_speakers(z: Any, files: Path) -> Raw:
    """The same, each speaker the test in turn."""
    return _recordings(z, files, _folds(np.unique(z["speaker"], return_inverse=True)[1]))


SETS: dict[str, tuple[str, Callable[[Any, Path], Raw]]] = {
    "houses": ("houses", houses),
    "products": ("flipkart", products),
    "spoken digits": ("fsdd", digits),
    "spoken digits, other speakers": ("fsdd", other_speakers),
}


def load(name: str, folder: Path, files: Path) -> Raw:
    source, make = SETS[name]
    with np.load(folder / source / f"{source}.npz", allow_pickle=False) as z:
        return make(z, files)


def inputs(name: str, folder: Path, files: Path) -> list[str]:
    """All modalities, and each alone if there are several."""
    frame = load(name, folder, files).frame
    names = [modality for modality, *_ in ModalityTransformer.from_frame(frame, within=files).transformers]
    return [ALL, *names] if len(names) > 1 else [ALL]


def measure(name: str, given: str, split: int, seed: int, folder: Path, files: Path) -> dict[str, Any]:
    """Score of one fit, of the pipeline with all modalities or with one."""
    torch.set_num_threads(1)
    raw = load(name, folder, files)
    train, test = raw.splits[split]
    steps = ModalityTransformer.from_frame(raw.frame.iloc[train], within=files).transformers
    chosen = [step for step in steps if given in (ALL, step[0])]
    model = make_pipeline(ModalityTransformer(chosen), raw.estimator(random_state=seed, device="cpu"))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(raw.frame.iloc[train], raw.target[train])
    seconds = time.perf_counter() - start
    score = raw.score(raw.target[test], model.predict(raw.frame.iloc[test]))
    return {"set": name, "input": given, "split": split, "seed": seed, "score": float(score), "seconds": seconds}


def report(rows: list[dict[str, Any]]) -> str:
    lines = ["| set | input | score | fits | seconds of a fit |", "|---|---|---|---|---|"]
    for name, given in dict.fromkeys((r["set"], r["input"]) for r in rows):
        own = [r for r in rows if (r["set"], r["input"]) == (name, given)]
        scores, seconds = [r["score"] for r in own], np.mean([r["seconds"] for r in own])
        spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
        lines.append(f"| {name} | {given} | {np.mean(scores):.3f}{spread} | {len(own)} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS), metavar="SET")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--log", type=Path, default=Path("raw_columns.jsonl"))
    args = parser.parse_args()
    folder = data_folder(parser, args)
    rows = [json.loads(line) for line in args.log.read_text().splitlines()] if args.log.exists() else []
    done = {(r["set"], r["input"], r["split"], r["seed"]) for r in rows}
    with tempfile.TemporaryDirectory() as made:
        files = Path(made)
        tasks = [
            (name, given, split, seed)
            for seed in range(args.seeds)
            for name in args.sets
            for given in inputs(name, folder, files)
            for split in range(len(load(name, folder, files).splits))
            if (name, given, split, seed) not in done
        ]
        run = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
        for result in run(delayed(measure)(*task, folder, files) for task in tasks):
            rows.append(result)
            with args.log.open("a") as log:
                log.write(json.dumps(result) + "\n")
    print(report([r for r in rows if r["set"] in args.sets]))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import raw_columns  # joblib's workers can import functions of a module, but not those of a script

    raw_columns.main()
