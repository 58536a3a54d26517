"""Everything about speed in one command: ratios side by side, and a plot of what cost grows with.

    python docs/benchmarks/speed.py --data FOLDER --plot speed.png
    python docs/benchmarks/speed.py --plot speed.png --only plot

Runs `speed_fit.py`, `speed_sparse.py`, `import_time.py` and, where real data is given, `speed_search.py` and
`speed_bound.py`, one after the other, and prints what they print. The plot: seconds of one fit over samples and
over modalities, beside a hand-written loop and plain skorch; seconds of a search over candidates, beside
GridSearchCV. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from speed_fit import hand_written, make_data, plain_skorch, skmm_fit

from skmm import Blocks, MultimodalClassifier
from skmm.model_selection import FusionSearchCV

HERE = Path(__file__).parent
SCRIPTS = {
    "fit": ["speed_fit.py"],
    "fusions": ["speed_fit.py", "--rounds", "3", "--epochs", "5", "--samples", "4000", "--fusions", "all"],
    "sparse": ["speed_sparse.py"],
    "import": ["import_time.py"],
    "search": ["speed_search.py"],
    "bound": ["speed_bound.py"],
}
WITH_DATA = {"search": ["--jobs", "2"], "bound": []}  # and the options beside the folder


def seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """The median of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def one_network(n_modalities: int, n_samples: int, epochs: int) -> None:
    rng = np.random.default_rng(0)
    X = Blocks({f"m{i}": rng.normal(size=(n_samples, 100)).astype(np.float32) for i in range(n_modalities)})
    clf = MultimodalClassifier.plain("sum", hidden_dim=50, batch_size=128, max_epochs=epochs, device="cpu")
    clf.fit(X, np.arange(n_samples) % 2)


def search(kind: Any, n_candidates: int) -> None:
    X, y = make_data(1000, 100)
    clf = MultimodalClassifier.plain(
        "sum", hidden_dim=50, batch_size=64, max_epochs=5, device="cpu", random_state=0
    )
    kind(clf, {"lr": list(np.geomspace(1e-4, 1e-2, n_candidates))}, cv=5, refit=False).fit(Blocks(X), y)


def draw(path: Path) -> None:
    """Measure and draw, on one thread."""
    from matplotlib.figure import Figure

    torch.set_num_threads(1)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    samples, modalities, candidates = figure.subplots(1, 3)
    sizes = [500, 2000, 8000, 32000]
    fits: dict[str, Any] = {"hand-written loop": hand_written, "skmm": skmm_fit, "plain skorch": plain_skorch}
    for name, fit in fits.items():
        fit(make_data(500, 100), 1, 0)  # warm up
        samples.loglog(
            sizes, [seconds(lambda n=n, f=fit: f(make_data(n, 100), 3, 0)) for n in sizes], "o-", label=name
        )
    samples.set(xlabel="samples (3 modalities, 3 epochs)", ylabel="seconds of a fit")
    counts = [1, 2, 4, 8, 16]
    modalities.loglog(counts, [seconds(lambda m=m: one_network(m, 4000, 3)) for m in counts], "o-", label="skmm")
    modalities.set(xlabel="modalities (4000 samples, 3 epochs)")
    numbers = [1, 2, 4, 8, 16, 32]
    for name, kind in (("FusionSearchCV", FusionSearchCV), ("GridSearchCV", GridSearchCV)):
        times = [seconds(lambda n=n, k=kind: search(k, n), rounds=1) for n in numbers]
        candidates.loglog(numbers, times, "o-", label=name)
    candidates.set(xlabel="candidates (5 folds, 1000 samples, 5 epochs)")
    for axis in (samples, modalities, candidates):
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real data sets; without it no search is timed")
    parser.add_argument("--plot", type=Path, help="where to save the plot")
    parser.add_argument("--only", nargs="*", choices=[*SCRIPTS, "plot"], default=[*SCRIPTS, "plot"])
    args = parser.parse_args()
    for name, command in SCRIPTS.items():
        if name not in args.only or (name in WITH_DATA and args.data is None):
            continue
        print(f"\n## {name}\n", flush=True)
        more = ["--data", str(args.data), *WITH_DATA[name]] if name in WITH_DATA else []
        subprocess.run([sys.executable, str(HERE / command[0]), *command[1:], *more], check=True)
    if args.plot is not None and "plot" in args.only:
        draw(args.plot)


if __name__ == "__main__":
    main()
