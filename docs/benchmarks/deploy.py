"""What a fitted default costs in use: one row and many, by the estimator, onnxruntime and a file; sizes, loading.

    python docs/benchmarks/deploy.py --data FOLDER --sets mfeat flipkart utd_mhad

One thread. Each time is the median of its repeats, all contenders taking turns in one process, so that ratios hold
where seconds do not. Differences are the largest between the probabilities of the estimator and of the file on the
test part.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import add_data_argument, load

import skmm


def timed(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each, one call of all before the next."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def measure(name: str, data: str, repeats: int, params: dict[str, Any]) -> list[str]:
    """One row of the table."""
    dataset = load(name, data)
    X, y, new, _, groups = dataset.split(0)
    cls = skmm.MultimodalClassifier if dataset.task == "classification" else skmm.MultimodalRegressor
    model = cls(random_state=0, device="cpu", **params).fit(X, y, groups=groups)
    ask = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    with tempfile.TemporaryDirectory() as folder:
        path, pickled, saved = Path(folder) / "m.onnx", Path(folder) / "m.pickle", Path(folder) / "m.skmm"
        start = time.process_time()
        skmm.to_onnx(model, path)
        export_seconds = time.process_time() - start
        pickled.write_bytes(pickle.dumps(model))
        skmm.save(model, saved)
        loaded = skmm.load_onnx(path, n_threads=1)
        tell = loaded.predict_proba if hasattr(loaded, "predict_proba") else loaded.predict
        one = new[:1]
        row = timed({"estimator": lambda: ask(one), "onnx": lambda: tell(one)}, repeats)
        many = timed({"estimator": lambda: ask(new), "onnx": lambda: tell(new)}, 3)
        loading = timed(
            {
                "pickle": lambda: pickle.loads(pickled.read_bytes()),
                "skmm": lambda: skmm.load(saved),
                "onnx": lambda: skmm.load_onnx(path, n_threads=1),
            },
            5,
        )
        sizes = {file.suffix: os.path.getsize(file) / 1e6 for file in (path, pickled, saved)}
    scale = 1.0 if hasattr(model, "predict_proba") else float(np.std(y))
    difference = float(np.abs(tell(new) - ask(new)).max()) / scale
    return [
        name,
        "default" if not params else ", ".join(f"{key}={value}" for key, value in params.items()),
        f"{1e3 * row['estimator']:.1f}",
        f"{1e3 * row['onnx']:.2f}",
        f"{row['estimator'] / row['onnx']:.1f}",
        f"{many['estimator']:.2f} / {many['onnx']:.2f} ({len(new)})",
        f"{difference:.0e}",
        f"{export_seconds:.0f}",
        " / ".join(f"{sizes[suffix]:.1f}" for suffix in (".onnx", ".pickle", ".skmm")),
        " / ".join(f"{1e3 * loading[kind]:.0f}" for kind in ("onnx", "pickle", "skmm")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--sets", nargs="+", default=["mfeat", "flipkart", "utd_mhad"])
    parser.add_argument("--repeats", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    header = ["set", "model", "one row, ms", "onnx, ms", "times", "all rows, s (rows)", "largest difference"]
    header += ["export, s of CPU", "MB: onnx / pickle / skmm", "loading, ms: onnx / pickle / skmm"]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for name in args.sets:
        for params in ({}, {"experts": None}):
            print(f"| {' | '.join(measure(name, args.data, args.repeats, params))} |", flush=True)


if __name__ == "__main__":
    main()
